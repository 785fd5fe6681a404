"""Studies: strict parsing, literal messages, and the tables of the paper's own studies."""

import dataclasses
import math
from pathlib import Path

import pytest

from lab.tiny import tiny_data, tiny_study
from sigmoe._base.errors import InputError
from sigmoe.lab import _study, _study_inputs
from sigmoe.lab._builtin import builtin_study
from sigmoe.lab._measures import truth_of
from sigmoe.lab._plan import plan_study
from sigmoe.lab._strict import Each, Listed, Text, as_table, build
from sigmoe.lab._study_file import load_study, parse_study

KINDS = (
    _study_inputs.Atom,
    _study_inputs.Truths,
    _study_inputs.Nodes,
    _study_inputs.Modulus,
    _study.Protocol,
    _study.Curve,
    _study.Panel,
    _study.Run,
    _study_inputs.Approximation,
    _study.Preset,
    _study.Study,
)


def with_value(path, value):
    """Return the tiny study's data with one value set; the path is keys and positions."""
    data = tiny_data()
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


CURVE = ("panels", 0, "curves", 0)
RUN = ("presets", "only", "runs", 0)
MESSAGES = [
    (
        ("colour",),
        "red",
        "tiny.toml: a key of the study must be in name, title, seed, noise_variance, truths, "
        "protocols, panels, presets; got 'colour'. Correct its spelling or remove it.",
    ),
    (
        ("protocols", "converged", "optimizer"),
        "adam",
        "tiny.toml: a key of protocols.converged must be in optimiser, start_noise, "
        "start_exponent, gradient_tolerance, relative_tolerance, learning_rate; got 'optimizer'. "
        "Correct its spelling or remove it.",
    ),
    (
        ("noise_variance",),
        -0.01,
        "tiny.toml: noise_variance must be a number >= 0; got -0.01. "
        "Give the variance of the noise.",
    ),
    (
        (*CURVE, "gate"),
        "tanh",
        "tiny.toml: panels[0].curves[0].gate must be one of 'sigmoid', 'softmax'; got 'tanh'. "
        "Name the gate that is fitted.",
    ),
    (
        (*CURVE, "expert"),
        "cubic",
        "tiny.toml: panels[0].curves[0].expert must be one of 'linear', 'relu', 'gelu', 'tanh', "
        "'scaled-relu', 'scaled-gelu', 'scaled-tanh', 'polynomial:P'; got 'cubic'. Choose one of "
        "these names, or add yours with register_expert.",
    ),
    (
        (*CURVE, "losses"),
        ["softmax"],
        "tiny.toml: panels[0].curves[0].losses must be for sigmoid gates; got 'softmax'. "
        "Take 'softmax' or L3 for softmax gates, L1 to L5 for sigmoid gates.",
    ),
    (
        (*CURVE, "losses"),
        ["L5"],
        "tiny.toml: panels[0].curves[0].losses must be for the full score; got 'L5'. "
        "Take L1 or L3: L4 and L5 have no term in b.",
    ),
    (
        (*CURVE, "reading"),
        "softmax-data",
        "tiny.toml: panels[0].curves[0].target must be 'best-approximation' exactly where the data "
        "come from another gate; got 'representations'. Change target or reading.",
    ),
    (
        (*RUN, "sizes"),
        [100, 0],
        "tiny.toml: presets.only.runs[0].sizes must be a non-empty list without repetition, each "
        "an integer >= 1; got [100, 0]. List sample sizes, smallest first.",
    ),
    (
        (*RUN, "sizes"),
        [100, 100],
        "tiny.toml: presets.only.runs[0].sizes must be a non-empty list without repetition, each "
        "an integer >= 1; got [100, 100]. List sample sizes, smallest first.",
    ),
    (
        (*RUN, "protocol"),
        "fast",
        "tiny.toml: presets.only.runs[0].protocol must be one of 'converged', 'paper-style'; got "
        "'fast'. Add the protocol or correct the name.",
    ),
    (
        (*RUN, "n_starts"),
        3,
        "tiny.toml: presets.only.runs[0].n_starts must be 1 unless start is 'random'; got 3. "
        "Remove it.",
    ),
    (
        ("presets", "only", "runs", 1, "start"),
        "random",
        "tiny.toml: presets.only.runs[1].start must be 'near-truth' for first-order steps; got "
        "'random'. Random starts need least squares.",
    ),
    (
        ("truths", "n_sparse"),
        2,
        "tiny.toml: presets.only.truths.n_sparse must be <= the smallest n_true, 1; got 2. "
        "Ask for no more zero gates than atoms.",
    ),
    (
        ("name",),
        "../up",
        "tiny.toml: name must be made of letters, digits, '-' and '_'; got '../up'. "
        "It becomes part of file names.",
    ),
    (
        ("panels",),
        [],
        "tiny.toml: panels must be a non-empty array of tables; got []. Write each as [[panels]].",
    ),
    (
        ("protocols",),
        {},
        "tiny.toml: protocols must be a non-empty table of tables; got {}. "
        "Write each as [protocols.NAME].",
    ),
    (
        ("truths",),
        8,
        "tiny.toml: truths must be a table; got 8. Write it as [name] with keys.",
    ),
]


@pytest.mark.parametrize(("path", "value", "message"), MESSAGES)
def test_a_bad_value_is_one_line_with_file_key_rule_value_and_remedy(path, value, message):
    with pytest.raises(InputError) as caught:
        parse_study(with_value(path, value), "tiny.toml")
    assert str(caught.value) == message


def test_a_missing_key_is_named():
    data = tiny_data()
    del data["panels"][0]["title"]
    with pytest.raises(InputError) as caught:
        parse_study(data, "tiny.toml")
    assert str(caught.value) == (
        "tiny.toml: panels[0].title must be given; got None. Add 'title' to the file."
    )


def test_two_panels_or_curves_of_one_name_are_refused():
    data = tiny_data()
    data["panels"] *= 2
    with pytest.raises(InputError, match=r"panels must be named differently; got 'T'\. Name each"):
        parse_study(data, "tiny.toml")
    data = tiny_data()
    data["panels"][0]["curves"] *= 2
    with pytest.raises(InputError, match=r"curves must be named differently; got 'sigmoid \(own"):
        parse_study(data, "tiny.toml")


def test_a_size_in_two_runs_of_one_kind_is_refused():
    data = tiny_data()
    runs = data["presets"]["only"]["runs"]
    runs.append({**runs[0], "sizes": [400, 800]})
    with pytest.raises(InputError) as caught:
        parse_study(data, "tiny.toml")
    assert str(caught.value) == (
        "tiny.toml: presets.only.runs[2].sizes must be without sizes that another run of the same "
        "kind has; got 400. Give each size in one run only."
    )


def fields_with_rules():
    for kind in KINDS:
        for field in dataclasses.fields(kind):
            if "rule" in field.metadata:
                yield pytest.param(kind, field, id=f"{kind.__name__}.{field.name}")


@pytest.mark.parametrize(("kind", "field"), list(fields_with_rules()))
def test_every_field_refuses_what_breaks_its_rule(kind, field):
    for bad in field.metadata["rule"].bad_values():
        with pytest.raises(InputError) as caught:
            build(kind, {field.name: bad, **_rest(kind, field.name)}, "file")
        message = str(caught.value)
        assert message.startswith(f"file: {field.name} must be {field.metadata['rule'].rule}; got")
        assert message.endswith(field.metadata["remedy"])
        assert "\n" not in message


def _rest(kind, name):
    """Return the other fields of the first such table in the studies at hand, as plain data."""
    found = _first(tiny_study().study, kind) or _first(builtin_study("table1"), kind)
    if found is None:
        return {}
    return {key: value for key, value in as_table(found).items() if key != name}


def _first(value, kind):
    if isinstance(value, kind):
        return value
    if dataclasses.is_dataclass(value):
        value = tuple(getattr(value, field.name) for field in dataclasses.fields(value))
    if isinstance(value, tuple):
        for entry in value:
            found = _first(entry, kind)
            if found is not None:
                return found
    return None


@pytest.mark.parametrize(
    "rule", [Text(), Each(Text()), Listed(Text())], ids=["text", "each", "listed"]
)
def test_a_rule_refuses_its_bad_values(rule):
    assert not any(rule.accepts(bad) for bad in rule.bad_values())


def test_a_whole_number_and_its_float_are_one_study():
    data = tiny_data()
    data["protocols"]["converged"]["start_noise"] = 1
    whole = parse_study(data, "a").resolve()
    data["protocols"]["converged"]["start_noise"] = 1.0
    assert parse_study(data, "b").resolve().hash == whole.hash


def test_the_order_of_keys_does_not_matter_and_every_value_does():
    data = tiny_data()
    again = {key: data[key] for key in reversed(data)}
    assert parse_study(again).resolve().hash == tiny_study().hash
    assert tiny_study(seed=2).hash != tiny_study().hash


def test_a_resolved_study_survives_plain_data():
    for name in ("figure1", "figure2", "table1"):
        study = builtin_study(name)
        for preset, _ in study.presets:
            resolved = study.resolve(preset)
            back = parse_study(resolved.as_dict()).resolve(preset)
            assert back.as_dict() == resolved.as_dict()
            assert back.hash == resolved.hash


def test_a_preset_that_is_not_there():
    with pytest.raises(InputError) as caught:
        builtin_study("figure1").resolve("huge")
    assert str(caught.value) == (
        "preset must be one of 'quick', 'paper', 'asymptotic'; got 'huge'. "
        "Choose one that study 'figure1' has."
    )
    with pytest.raises(InputError, match="got None"):
        builtin_study("figure1").resolve()


def test_the_only_preset_need_not_be_named():
    assert parse_study(tiny_data()).resolve().preset == "only"


def test_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "none.toml"
    with pytest.raises(InputError) as caught:
        load_study(path)
    assert str(caught.value) == (
        f"study must be a readable TOML file; got '{path}' (No such file or directory). "
        "Check the name and the permissions."
    )


def test_a_file_that_is_no_toml(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("name = \n")
    with pytest.raises(InputError) as caught:
        load_study(path)
    assert str(caught.value) == (
        "bad.toml must be valid TOML; got 'Invalid value (at line 1, column 8)'. Correct that line."
    )
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"got '.*bad\.toml' \(not UTF-8\)\."):
        load_study(path)


def runs_of(name, preset):
    """Return {(protocol, start, N - N*): {size: replications}} of a preset."""
    cells = {}
    for run in builtin_study(name).resolve(preset).size.runs:
        key = (run.protocol, run.start, run.extra_atoms)
        cells.setdefault(key, {}).update(dict.fromkeys(run.sizes, run.replications))
    return cells


LOCAL_8 = ("converged", "near-truth", 0)
LOCAL_9 = ("converged", "near-truth", 1)
GLOBAL_8 = ("converged", "random", 0)
STEPS_8, STEPS_9 = ("paper-style", "near-truth", 0), ("paper-style", "near-truth", 1)
SMALL = [1000, 3200, 10_000]


def test_the_quick_preset_holds_the_costed_budget():
    five, three = dict.fromkeys(SMALL, 5), dict.fromkeys(SMALL, 3)
    assert runs_of("figure1", "quick") == {LOCAL_9: five, STEPS_9: three}
    assert runs_of("table1", "quick") == {LOCAL_9: five}
    assert runs_of("figure2", "quick") == {
        LOCAL_8: {**five, 30_000: 3},
        LOCAL_9: five,
        GLOBAL_8: {10_000: 2},
        STEPS_8: three,
        STEPS_9: three,
    }


def test_the_paper_preset_holds_the_costed_budget():
    ten = dict.fromkeys([*SMALL, 30_000], 10)
    nine = runs_of("figure1", "paper")[LOCAL_9]
    assert (len(nine), min(nine), max(nine), set(nine.values())) == (6, 1000, 100_000, {20})
    assert runs_of("figure1", "paper") == {LOCAL_9: nine, STEPS_9: ten}
    assert runs_of("table1", "paper") == {LOCAL_9: nine}
    figure2 = runs_of("figure2", "paper")
    eight = figure2.pop(LOCAL_8)
    assert (len(eight), min(eight), max(eight), set(eight.values())) == (12, 1000, 100_000, {20})
    assert figure2 == {
        LOCAL_9: nine,
        GLOBAL_8: {10_000: 5, 30_000: 5},
        STEPS_8: ten,
        STEPS_9: ten,
    }
    for sizes in (eight, nine):
        ratios = [b / a for a, b in zip(sorted(sizes), sorted(sizes)[1:], strict=False)]
        assert max(ratios) / min(ratios) < 1.08


def test_the_asymptotic_preset_is_small_in_dimension_and_large_in_n():
    for name in ("figure1", "figure2"):
        study = builtin_study(name).resolve("asymptotic")
        assert (study.truths.dim, study.truths.n_true) == (2, (2, 3))
        assert max(runs_of(name, "asymptotic")[LOCAL_9]) == 1_000_000


def test_the_asymptotic_table_has_every_cell_in_one_dimension():
    study = builtin_study("table1").resolve("asymptotic")
    assert (study.truths.dim, study.truths.n_true) == (1, (2,))
    curves = [c for panel in study.panels for c in panel.curves if "expert" in c.losses]
    cells = {(c.gate, c.score, c.expert, c.regime) for c in curves}
    experts = ("relu", "gelu", "linear", "polynomial:2")
    assert len(curves) == len(cells) == 2 * 2 * len(experts) * 2
    assert max(n for run in study.size.runs for n in run.sizes) == 10**14
    for curve in curves:
        polynomial = curve.expert in ("linear", "polynomial:2")
        slow = polynomial and (curve.regime == "sparse" or curve.gate == "softmax")
        quick = curve.regime == "dense"
        assert curve.paper_slope == (0.0 if slow else -0.5 if quick else -0.25)


def test_the_dense_gates_of_the_asymptotic_table_depend_on_the_input():
    for curve in plan_study(builtin_study("table1").resolve("asymptotic")):
        if curve.truth.regime == "dense":
            weights = truth_of(curve.truth).gates([[-2.0], [0.5], [2.0]])
            assert float((weights.amax(0) - weights.amin(0)).min()) > 0.05, curve.curve


def test_the_paper_slopes_are_the_papers():
    slopes = {
        (panel.name, curve.name): curve.paper_slope
        for name in ("figure1", "figure2")
        for panel in builtin_study(name).panels
        for curve in panel.curves
    }
    assert slopes == {
        ("1a", "softmax"): -0.24,
        ("1a", "sigmoid"): -0.51,
        ("1b", "softmax"): -0.07,
        ("1b", "sigmoid"): -0.46,
        ("2a", "ReLU"): -0.54,
        ("2a", "linear"): -0.07,
        ("2b", "ReLU"): -0.53,
        ("2b", "linear"): -0.44,
    }


def test_the_studies_share_one_setting():
    for name in ("figure1", "figure2", "table1"):
        study = builtin_study(name)
        assert study.noise_variance == 0.01
        assert (study.truths.dim, study.truths.n_true) == (8, (8,))
        for _, protocol in study.protocols:
            assert math.isclose(protocol.start_noise, 0.005)
            assert math.isclose(protocol.start_exponent, -0.083)


def test_the_studies_lie_where_the_package_looks():
    assert (Path(__file__).parents[2] / "studies" / "figure2.toml").is_file()
