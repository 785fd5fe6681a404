import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from sigmoe._base.errors import InputError
from sigmoe.lab._page import chart, page, picture
from sigmoe.lab._read import read_results
from sigmoe.lab._report import embedded, render, write_report
from synthetic_results import Synthetic, paper_like, power

VOID = {"meta", "link", "input", "br", "line", "circle", "path"}


class Page(HTMLParser):
    """A strict reader: elements must close in order; collects attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and all(attributes.get(k.strip("_")) == v for k, v in wanted.items())
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paper_like(tmp_path_factory.mktemp("synthetic") / "results")


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return write_report(folder).read_text("utf-8")


@pytest.fixture(scope="module")
def read(text: str) -> Page:
    return Page(text)


def test_the_page_is_one_well_formed_file_that_loads_nothing(text, read):
    assert text.startswith("<!DOCTYPE html>")
    assert read.open == []
    for tag, attributes in read.elements:
        assert "src" not in attributes, tag
        if tag == "a":
            assert attributes["href"].startswith("#")
        if tag == "link":
            assert attributes == {"rel": "icon", "href": "data:,"}
    assert "@import" not in text
    assert "url(" not in text
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}
    (policy,) = read.all("meta", http_equiv_="Content-Security-Policy") or [
        a for a in read.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy["content"].startswith("default-src 'none'")


def test_links_lead_to_sections_that_exist(read):
    anchors = {attributes.get("id") for _, attributes in read.elements}
    targets = {attributes["href"].removeprefix("#") for attributes in read.all("a")}
    assert targets <= anchors
    assert {"glance", "figure1-1a", "figure2-2b", "table", "slopes", "run"} <= targets


def test_the_same_results_give_the_same_page(folder, text):
    assert render(read_results(folder)) == text


def test_charts_have_the_numbers_of_the_tables(folder, text):
    match = re.search(r'<script type="application/json" id="chart-data">(.*?)</script>', text, re.S)
    data = json.loads(match[1])
    assert list(data) == ["figure1-1a", "figure1-1b", "figure2-2a", "figure2-2b"]
    losses = pl.read_parquet(folder / "losses.parquet")
    checked = 0
    for panel in data.values():
        for curve in panel["curves"]:
            variant = panel["variants"][curve["variant"]]["key"]
            reading, n_fitted = variant.rsplit("-N", 1)
            for point in curve["points"]:
                rows = losses.filter(
                    pl.col("panel") == panel["panel"],
                    pl.col("curve") == curve["name"],
                    pl.col("reading") == reading,
                    pl.col("n_fitted") == int(n_fitted),
                    pl.col("protocol") == curve["protocol"],
                    pl.col("start") == curve["start"],
                    pl.col("loss") == curve["loss"],
                    pl.col("n") == point["n"],
                )
                values = rows["value"].drop_nulls()
                assert point["mean"] == pytest.approx(values.mean())
                assert point["sd"] == pytest.approx(values.std())
                assert point["reps"] == len(values)
                assert point["failed"] == rows["failed"].sum()
                assert point["start"] == pytest.approx(rows["start_value"].mean(), nan_ok=True)
                checked += 1
    assert checked > 200


def test_curves_can_be_told_apart_by_what_the_switches_name(folder):
    for panel in read_results(folder).panels:
        curves = chart(panel)["curves"]
        names = ("name", "variant", "protocol", "start", "loss")
        assert len({tuple(c[k] for k in names) for c in curves}) == len(curves)
        own = {c["loss"] for c in curves if c["quantity"] == "own"}
        assert own == {"1": {"L3", "softmax"}, "2": {"L1"}, "t": {"expert"}}[panel.panel[0]]
        others = {c["quantity"] for c in curves} - {"own"}
        assert others == {"expert", "function"} - own


def test_every_panel_has_its_words_and_values(read):
    headings = [text.strip() for text in read.texts["h2"] if text.strip()]
    assert headings == [
        "At a glance",
        *(f"Invented panel {name}" for name in ("1a", "1b", "2a", "2b")),
        "Table 1, measured",
        "All slopes",
        "What was run",
    ]
    assert len(read.all("div", class_="plot")) == 4
    assert len(read.all("span", class_="sentence")) == len(read.all("details", class_="evidence"))
    assert len(read.all("span", class_="sentence")) > 100


def test_the_table_has_every_slope_and_flags_the_curves_own_losses(folder, read):
    slopes = pl.read_csv(folder / "slopes.csv")
    rows = [a for a in read.all("tr") if "data-own" in a]
    assert len(rows) == len(slopes)
    own = ~slopes["loss"].is_in(["function"]) & ~slopes["loss"].str.starts_with("start ")
    own &= (slopes["loss"] != "expert") | (slopes["figure"] == "table1")
    assert sum(row["data-own"] == "1" for row in rows) == own.sum()


def test_what_was_run_is_said(text):
    for words in (
        "Invented figure1",
        "0123456789abcdef0123456789abcdef",
        "20250101",
        "sigmoe 0.0.0, torch 2.13.0",
        "532 stored, 4 failed",
        "invented failure",
        "system Linux, cpus 2",
    ):
        assert words in text


def test_glance_shows_the_reading_nearest_to_the_paper(folder):
    glance = page(read_results(folder))["panels"]
    readings = {line["curve"].reading for panel in glance[:2] for line in panel["glance"]}
    sizes = {line["curve"].n_fitted for panel in glance[2:] for line in panel["glance"]}
    assert readings == {"softmax-data"}
    assert sizes == {8}
    assert [line["curve"].protocol for line in glance[0]["glance"]] == [
        "paper-style",
        "converged",
    ] * 2


def test_names_cannot_break_out_of_the_page(tmp_path):
    made = Synthetic()
    name = "</script><b onload=x>&\u2028"
    made.add("2b", name, "L1", power(50.0, -0.5), paper=-0.5)
    path = write_report(made.write(tmp_path / "named"))
    text = path.read_text("utf-8")
    assert "<b onload" not in text
    assert Page(text).open == []
    match = re.search(r'id="chart-data">(.*?)</script>', text, re.S)
    assert json.loads(match[1])["figure2-2b"]["names"] == [name]


def test_embedded_json_refuses_what_json_has_no_word_for():
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded({"x": float("nan")})


@pytest.mark.parametrize("case", ["one size", "all failed", "zero", "single fit"])
def test_awkward_curves_still_make_a_page(tmp_path, case):
    made = Synthetic()
    options = {
        "one size": {"sizes": (1000,)},
        "all failed": {"sizes": (1000,), "failing": [(1000, k) for k in range(5)]},
        "zero": {"sizes": (1000,), "exact_values": {1000: [0.0] * 5}},
        "single fit": {"replications": 1},
    }[case]
    made.add("2b", "ReLU", "L1", power(50.0, -0.5), paper=-0.5, **options)
    text = write_report(made.write(tmp_path / "awkward")).read_text("utf-8")
    assert Page(text).open == []
    assert ">nan<" not in text
    verdicts = {
        "one size": "There is no slope: the number of sizes with a mean loss above zero is 1.",
        "all failed": "There is no slope: the number of sizes with a mean loss above zero is 0.",
        "zero": "There is no slope: the number of sizes with a mean loss above zero is 0.",
        "single fit": "Measured slope −0.50, without an interval; the paper’s is −0.50.",
    }
    assert verdicts[case] in text


def test_a_folder_of_figures_only_has_no_section_for_table_1(tmp_path):
    made = Synthetic()
    made.add("2b", "ReLU", "L1", power(50.0, -0.5))
    text = write_report(made.write(tmp_path / "figures")).read_text("utf-8")
    assert 'id="table"' not in text
    assert "#table" not in {a["href"] for a in Page(text).all("a")}


def test_a_study_of_ones_own_is_not_compared_with_the_paper(tmp_path):
    made = Synthetic()
    made.add("mine", "relu", "L1", power(50.0, -0.5), figure="own", n_fitted=8)
    text = write_report(made.write(tmp_path / "own")).read_text("utf-8")
    assert "<h1>Slopes measured</h1>" in text
    assert "Appendix D" not in text
    assert "there is no claim to compare it with." in text
    assert [
        line["curve"].curve for line in page(read_results(tmp_path / "own"))["panels"][0]["glance"]
    ] == ["relu"]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        write_report(tmp_path)
    assert str(caught.value) == (
        f"directory must be a result folder that holds losses.parquet; got '{tmp_path}'. "
        "Run `sigmoe reproduce all --out DIR` or `sigmoe run STUDY.toml --out DIR` first."
    )


class TestPicture:
    def test_places_are_to_scale(self):
        drawn = picture(-0.5, -1.0, 0.0, -0.25, None)
        assert [drawn[k] for k in ("low", "slope", "paper", "high")] == [30.0, 60.0, 75.0, 90.0]
        assert drawn["predicted"] is None
        assert not drawn["beyond_low"]
        assert not drawn["beyond_high"]

    def test_what_lies_beyond_is_marked(self):
        drawn = picture(-0.5, -3.0, 2.0, None, None)
        assert (drawn["low"], drawn["high"]) == (0.0, 120.0)
        assert drawn["beyond_low"]
        assert drawn["beyond_high"]

    def test_no_slope_no_picture(self):
        assert picture(None, None, None, -0.5, None) is None
