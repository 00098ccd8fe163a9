"""The model card: what this delta is, in Markdown."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, StrictUndefined

_TEMPLATE = """\
# {{ m.name }}

A delta for `{{ m.base.source or m.base.class }}`\
{% if m.base.revision %} at revision `{{ m.base.revision }}`{% endif %}, \
class `{{ m.base.class }}`, made with deltac {{ m.made_with.deltac }}. State: {{ m.state }}.

{% if description %}{{ description }}

{% endif -%}
| delta | operator | identity at the start | places |
|---|---|---|---|
{% for delta in m.deltas -%}
| {{ delta.name }} | {{ delta.operator }} | {{ delta.identity_at_start | join(", ") }} | \
{% for part in delta.parts %}{% for site in part.sites %}`{{ site }}` {% endfor %}{% endfor %}|
{% endfor %}
| parameters | number |
|---|---|
| base, heads left out | {{ "{:,}".format(m.counts.base) }} |
| delta | {{ "{:,}".format(m.counts.delta) }} |
| of the base | {{ "%.4f" | format(m.counts.percent_of_base) }} % |
| of base and added | {{ "%.4f" | format(m.counts.percent_of_base_and_added) }} % |
| heads, no part of the delta | {{ "{:,}".format(m.counts.heads) }} |

```python
import deltac

compiled = deltac.load("{{ m.name }}")  # this folder; model=... for a base that is already loaded
compiled.model
```

{% for name, operator in m.operators.items() | sort -%}
- {{ name }}: {{ operator.paper }}
{% endfor -%}
"""


def card(manifest: dict[str, Any], description: str) -> str:
    """The text of the artifact's README.md."""
    environment = Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    return environment.from_string(_TEMPLATE).render(m=manifest, description=description)
