"""Every key and value of a document knows its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltac.diagnostics import DeltacError
from deltac.spec.yaml import MAX_BYTES, Document, parse, read

TEXT = """\
version: 1
deltas:
  - operator: lora  # a comment
    target:
      module: [q_proj, "v_proj"]
      layers: 0-5
    rank:
"""


def where(span):
    return (span.text, span.start.line, span.start.column)


def test_spans_of_values():
    document = parse(TEXT, "a.yaml")
    assert where(document.span(("version",))) == ("1", 1, 10)
    assert where(document.span(("deltas", 0, "operator"))) == ("lora", 3, 15)
    assert where(document.span(("deltas", 0, "target", "module", 1))) == ('"v_proj"', 5, 24)
    assert document.span(("deltas", 0, "target")).text.endswith("layers: 0-5")


def test_spans_of_keys():
    document = parse(TEXT, "a.yaml")
    assert where(document.key_span(("deltas", 0, "target", "layers"))) == ("layers", 6, 7)
    assert where(document.key_span(("deltas", 0, "target", "module", 0))) == ("q_proj", 5, 16)


def test_a_key_without_a_value_stands_for_its_value():
    assert where(parse(TEXT, "a.yaml").span(("deltas", 0, "rank"))) == ("rank", 7, 5)


def test_what_is_not_there_has_the_place_of_its_nearest_parent():
    document = parse(TEXT, "a.yaml")
    scalar = document.span(("deltas", 0, "target", "layers"))
    assert document.span(("deltas", 0, "target", "layers", 0)) == scalar
    assert document.span(("model", "source")) == document.span()
    assert document.key_span(("model", "source")) == document.span()


def test_an_alias_has_the_place_of_what_it_repeats():
    document = parse("a: &x [1, 2]\nb: *x\n", "a.yaml")
    assert document.data == {"a": [1, 2], "b": [1, 2]}
    assert document.span(("b", 1)) == document.span(("a", 1))


def test_a_byte_order_mark_moves_nothing():
    assert where(parse("\ufeffversion: 1\n", "a.yaml").key_span(("version",)))[1:] == (1, 1)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_breaks(newline):
    document = parse(newline.join(["é: 1", "😀: [a,", "  b]", ""]), "a.yaml")
    assert where(document.span(("😀", 1))) == ("b", 3, 3)


def test_quotes_put_in_to_read_on_move_no_later_place():
    text = "a: {x: *_one, y: re:'[q]'\\., z: 1, z: 2}\nb: 3\n"
    document, problems = read(text, "a.yaml")
    assert [each.code for each in problems] == ["DLT015", "DLT016", "DLT009"]
    assert [each.span.text for each in problems] == ["*_one", "re:'[q]'\\.", "z"]
    assert document.data["a"] == {"x": "*_one", "y": "re:'[q]'\\.", "z": 1}
    assert where(document.span(("a", "z"))) == ("1", 1, 33)
    assert where(document.span(("b",))) == ("3", 2, 4)


def test_more_slips_than_deltac_mends_end_the_reading():
    document, problems = read("[" + ", ".join(f"*s{n}" for n in range(40)) + "]", "a.yaml")
    assert document is None
    assert {each.code for each in problems} == {"DLT015"}


def test_a_large_file_is_refused_unread():
    with pytest.raises(DeltacError) as caught:
        parse("#" * (MAX_BYTES + 1), "a.yaml")
    assert [(each.code, str(each.span)) for each in caught.value.diagnostics] == [
        ("DLT004", "a.yaml:1:1")
    ]


@pytest.mark.parametrize("text", ["[" * 200_000, "{a: " * 100_000, "- " * 100_000])
def test_deep_nesting_is_refused(text):
    with pytest.raises(DeltacError) as caught:
        parse(text, "a.yaml")
    assert caught.value.diagnostics[0].code in ("DLT005", "DLT001")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "<<"), plain))
def test_data_written_as_yaml_reads_back_the_same(data):
    try:
        document = Document.from_data(data)
    except DeltacError as error:
        codes = {each.code for each in error.diagnostics}
        assert codes <= {"DLT003", "DLT011", "DLT005"}
        return
    assert document.data == data
    assert repr(document.data) == repr(data)


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, print])
def test_other_objects_are_refused(value):
    with pytest.raises(DeltacError) as caught:
        Document.from_data({"version": 1, "seed": value})
    assert caught.value.diagnostics[0].code == "DLT018"
    assert caught.value.exit_code == 2


def test_a_dict_that_holds_itself_is_refused():
    data = {}
    data["self"] = data
    with pytest.raises(DeltacError) as caught:
        Document.from_data(data)
    assert caught.value.diagnostics[0].code == "DLT018"


@given(st.text(alphabet="ab:[]{}*&!|>'\"#%@,-? \n\t\\re$"))
def test_no_text_gives_anything_but_a_document_or_problems(text):
    document, problems = read(text, "a.yaml")
    assert document is not None or problems
    for each in problems:
        assert 0 <= each.span.start.offset <= each.span.end.offset <= len(text)
