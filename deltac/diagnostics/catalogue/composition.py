"""4xx: deltas, heads and the budget together."""

from deltac.diagnostics.catalogue.code import Code

CODES = (
    Code(
        "DLT401",
        "operator-repeated",
        "The same operator acts twice at one place. Different operators compose in the order written; the same one "
        "twice is usually a slip.",
        wrong="two lora deltas, one on `query`, one on `[query, value]`",
        right="one lora delta on `[query, value]`, or `overlap: true` on the second",
    ),
    Code(
        "DLT402",
        "overrides-overlap",
        "Two overrides of one delta apply to the same place, so which options hold there is not said.",
        wrong="overrides: [{layers: 0-3, rank: 4}, {layers: 3-5, rank: 16}]",
        right="overrides: [{layers: 0-2, rank: 4}, {layers: 3-5, rank: 16}]",
    ),
    Code(
        "DLT403",
        "tuned-and-reparameterized",
        "One delta tunes a weight in place, another reparameterizes it. The second adds nothing.",
        wrong="`tune` on `layers: last 1` and `lora` on every `query`",
        right="`lora` on `query` with `layers: 0-10`",
    ),
    Code(
        "DLT404",
        "delta-in-head",
        "A delta acts on a module that is trained whole as a head.",
        wrong="{operator: lora, target: {module: '**.dense'}}  # selects classifier.dense",
        right="{operator: lora, target: {module: '**.dense', exclude: classifier}}",
    ),
    Code(
        "DLT405",
        "fresh-head-frozen",
        "The base checkpoint lacks these parameters, so they hold random values, and `heads` leaves them frozen.",
        wrong="heads: []  # with AutoModelForSequenceClassification on a bare encoder",
        right="heads: auto",
    ),
    Code(
        "DLT406",
        "tied-weight",
        "The weight is one tensor under two names, such as an embedding and the output layer. Whether a delta on one "
        "side changes the other use too must be said: `tied: both`, or `tied: untie` for this side alone.",
        wrong="{operator: lora, target: {module: lm_head}}  # tied to the embedding",
        right="{operator: lora, target: {module: lm_head}, tied: both}",
    ),
    Code(
        "DLT407",
        "over-budget",
        "The delta is larger than the `budget` of the spec allows.",
        wrong="budget: {trainable: 0.1%}  # the delta has 0.3%",
        right="budget: {trainable: 0.5%}",
    ),
    Code(
        "DLT408",
        "name-taken",
        "A parameter of the delta would take a name that the module already uses.",
        wrong="two deltas whose parameters meet in one name",
        right="another `name` for the delta",
    ),
    Code(
        "DLT409",
        "blocks-missing",
        "The base checkpoint lacks parameters inside the model's blocks, so whole layers would start from random "
        "values and be trained as heads.",
        wrong="config: {num_hidden_layers: 8}  # the checkpoint has 6",
        right="config: {num_hidden_layers: 6}",
    ),
    Code(
        "DLT410",
        "tied-head",
        "A head is one tensor with a weight that `heads` doesn't name, such as the embedding. Training the head trains "
        "that weight too.",
        wrong="heads: [lm_head]  # tied to the embedding",
        right="heads: [lm_head]  # deltac: ignore[DLT410] the embedding may move with it",
        severity="warning",
    ),
    Code(
        "DLT411",
        "over-project-budget",
        "The delta is larger than the project's settings (`policy.budget`) allow any delta to be.",
        wrong='budget = {trainable = "0.1%"}  # in [tool.deltac.policy]; the delta has 0.3%',
        right="a smaller delta, or a larger budget that the project agrees on",
    ),
    Code(
        "DLT412",
        "idle-tied",
        "A delta says what happens to tied weights, and none of the weights that it selects is tied.",
        wrong="{operator: lora, target: {module: q_proj}, tied: both}",
        right="{operator: lora, target: {module: q_proj}}",
    ),
)
