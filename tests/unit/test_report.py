"""The report: the story it tells, the picture it draws, and that no text can break it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incident_example import example

from hass_runtime.api.render import moment
from hass_runtime.report.picture import LEFT, RIGHT, WIDTH, draw
from hass_runtime.report.render import render
from hass_runtime.report.timeline import build, headline, narrative
from hass_runtime.report.words import clock, join, offset, plain, seconds, span

VOID = {"meta", "br", "hr", "link"}


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed, and nothing leads outside."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            assert name not in ("src", "href", "style", "action", "xlink:href"), name
            assert name == "xmlns" or "://" not in (value or "") or name in ("content", "aria-label"), value
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_story_of_a_host_without_power() -> None:
    story = build(example())
    assert headline(story) == "compute2 failed; all 12 instances are safe, and the host is back"
    assert [mark.key for mark in story.marks] == ["seen", "decided", "fenced", "active", "closed"]
    assert story.since_begin("decided") == pytest.approx(3.1)
    assert story.since_begin("fenced") == pytest.approx(8.9)
    assert story.since_begin("active") == pytest.approx(25.5)
    told = " ".join(narrative(story))
    assert "compute2 was proven off 8.9 s after the first sign" in told
    assert "All 12 instances are as before on other hosts: compute3 (6) and compute4 (6)" in told
    assert "compute2 was back in service after 2 min 05 s." in told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"outcome": "recovered", "closed_at": None},
            "compute2 failed; all 12 instances are safe, the host is not back yet",
        ),
        (
            {"outcome": "recovered", "moves": []},
            "compute2 failed; it had no instances to move, and the host is back",
        ),
        ({"outcome": "failed"}, "compute2 failed and could not be recovered"),
        (
            {"outcome": "held", "gate": "storm", "closed_at": None},
            "compute2 is in trouble; HASS holds back: too many hosts of the cluster fail at once",
        ),
        ({"outcome": "held", "gate": "", "closed_at": None}, "compute2 is in trouble; HASS holds back"),
        ({"outcome": "open", "closed_at": None}, "compute2 failed; recovery is under way"),
        ({"outcome": "open", "closed_at": None, "runs": []}, "compute2 failed; nothing has been done yet"),
        ({"outcome": "cleared"}, "compute2 was in doubt and got well by itself"),
    ],
)
def test_headlines(changes: dict[str, Any], words: str) -> None:
    page = Page(render(example() | changes))
    assert headline(build(example() | changes)) == words
    assert words in page.text


def test_the_story_does_not_praise_an_order_that_was_not_kept() -> None:
    incident = example()
    good = "only then was any instance started elsewhere"
    assert good in " ".join(narrative(build(incident)))
    incident["moves"][2]["started_at"] = incident["opened_at"]
    told = " ".join(narrative(build(incident)))
    assert good not in told
    assert (
        "compute2 was proven off 8.9 s after the first sign, but 1 instance had begun to move before" in told
    )


def test_an_instance_that_did_not_make_it_is_named() -> None:
    incident = example(3)
    incident["moves"][1] |= {"state": "failed", "target": "", "reason": "No valid host was found."}
    incident |= {"outcome": "failed"}
    page = Page(render(incident))
    assert "1 of 3 instances could not be recovered" in page.text
    assert "Look after db-1." in page.text
    assert "No valid host was found." in page.text
    assert "✗ failed" in page.text


def test_the_page_stands_alone() -> None:
    page = render(example())
    parsed = Page(page)
    assert parsed.tags.isdisjoint({"script", "link", "img", "iframe", "object", "form", "base"})
    assert re.findall(r"https?://[^\"' <]+", page) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"@import|url\((?!#)", page)
    assert "prefers-color-scheme: dark" in page
    assert '<html lang="en"' in page


def test_the_picture_has_a_text_for_those_who_do_not_see_it() -> None:
    page = render(example())
    assert 'role="img" aria-labelledby="t-title t-desc"' in page
    assert page.count('id="t-title"') == page.count('id="t-desc"') == 1
    for bar in draw(build(example())).bars:
        assert bar.tip.partition(":")[0] in page


def test_bars_are_in_the_order_of_time_and_within_the_picture() -> None:
    picture = draw(build(example()))
    fence, evacuate = (
        next(bar for bar in picture.bars if bar.label.startswith(name)) for name in ("Power off", "Evacuate")
    )
    assert fence.x + fence.width <= evacuate.x
    for bar in picture.bars:
        assert bar.x >= LEFT
        assert bar.x + bar.width <= WIDTH - RIGHT + 3.0
        assert bar.y + bar.height <= picture.bottom
    xs = [flag.x for flag in picture.flags]
    assert xs == sorted(xs)
    assert picture.unproven == next(flag.x for flag in picture.flags if flag.key == "fenced")


def test_flags_do_not_cover_one_another() -> None:
    incident = example() | {"opened_at": example()["seen"][0]["at"]}
    flags = draw(build(incident)).flags
    for one in flags:
        for other in flags:
            if one is not other and one.y == other.y:
                assert abs(one.text_x - other.text_x) > 40


def test_a_night_on_hold_is_folded() -> None:
    incident = example()
    late = 8 * 3600.0
    for item in [*incident["steps"][2:], *incident["runs"], *incident["moves"]]:
        for name in ("started_at", "finished_at"):
            item[name] = moment((seconds(item[name]) or 0.0) + late)
    incident["closed_at"] = moment((seconds(incident["closed_at"]) or 0.0) + late)
    picture = draw(build(incident))
    (fold,) = picture.folds
    assert fold.label == "8 h 00 min" or fold.label == "7 h 59 min"
    assert fold.width == pytest.approx(44.0)
    evacuation = next(bar for bar in picture.bars if bar.label.startswith("Evacuate"))
    assert evacuation.width > 40


def test_many_instances_are_thin_lines() -> None:
    picture = draw(build(example(500)))
    assert picture.height < 4500
    assert len([bar for bar in picture.bars if not bar.label]) == 500


def test_nothing_is_known_yet() -> None:
    for empty in ({}, {"seen": None, "steps": "x", "moves": [1], "runs": {}}, {"opened_at": "soon"}):
        Page(render(empty))  # type: ignore[arg-type]


# Whatever a host, a task, Nova or a person calls itself

EVIL = "<script>alert(1)</script></svg></style>\"'><img src=x onerror=y>{{ 7*7 }}&amp;\x1b[31m"


def test_evil_words_are_words() -> None:
    incident = example(2)
    for item in (incident, *incident["seen"], *incident["steps"], *incident["moves"], *incident["runs"]):
        for name, value in item.items():
            if isinstance(value, str) and name not in ("id", "run", "outcome") and not name.endswith("at"):
                item[name] = EVIL
    page = Page(render(incident))
    assert page.tags.isdisjoint({"script", "img"})
    assert (
        page.text.count("<script>alert(1)</script></svg></style>\"'><img src=x onerror=y>{{ 7*7 }}&amp;") > 20
    )
    assert "\x1b" not in render(incident)


TEXT = st.text(max_size=40) | st.sampled_from(
    ["<script>alert(1)</script>", "</svg>", '"><img src=x onerror=y>', "{{ 7*7 }}", "&amp;"]
)
TIME = st.none() | st.floats(1.0e9, 4.0e9).map(moment) | TEXT
STEP = st.fixed_dictionaries(
    {
        "run": st.sampled_from(["r1", "r2", ""]) | TEXT,
        "name": TEXT,
        "action": TEXT,
        "status": TEXT,
        "detail": TEXT,
    }
    | {"started_at": TIME, "finished_at": TIME}
)
MOVE = st.fixed_dictionaries(
    dict.fromkeys(("instance", "name", "source", "target", "state", "was", "reason"), TEXT)
    | {"attempts": st.integers(0, 9), "started_at": TIME, "finished_at": TIME}
)
RUN = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["r1", "r2"]),
        "playbook": TEXT,
        "attempt": st.integers(1, 3),
        "status": TEXT,
        "reason": TEXT,
    }
    | {"started_at": TIME, "finished_at": TIME}
)
SEEN = st.fixed_dictionaries({"layer": TEXT, "verdict": TEXT, "evidence": TEXT, "at": TIME})
INCIDENT = st.fixed_dictionaries(
    dict.fromkeys(("host", "fault", "layer", "why", "decision", "gate", "reason", "phase"), TEXT)
    | {"id": st.integers(1), "opened_at": TIME, "closed_at": TIME}
    | {"outcome": st.sampled_from(["open", "held", "recovered", "failed", "cleared"]) | TEXT}
    | {"seen": st.lists(SEEN, max_size=3), "steps": st.lists(STEP, max_size=4)}
    | {"moves": st.lists(MOVE, max_size=3), "runs": st.lists(RUN, max_size=2)}
)


@settings(max_examples=150, deadline=None)
@given(INCIDENT)
def test_no_text_and_no_time_breaks_the_page(incident: dict[str, Any]) -> None:
    text = render(incident)
    text.encode()
    page = Page(text)
    assert page.tags.isdisjoint({"script", "img"})
    assert plain(incident["host"]) in re.sub(r"\s+", " ", page.text) or not plain(incident["host"])
    for shape in draw(build(incident)).bars:
        assert LEFT - 1 <= shape.x <= WIDTH


@given(st.text())
def test_plain_text_has_one_line_and_no_control_characters(text: str) -> None:
    cleaned = plain(text)
    assert cleaned.isprintable() or all(c.isprintable() or c.isspace() or ord(c) > 0xA0 for c in cleaned)
    assert not {"\n", "\r", "\x1b", "\x9b", "\u202e", "\0"} & set(cleaned)
    cleaned.encode()


@given(st.floats(-1e12, 1e12))
def test_durations_are_short(value: float) -> None:
    assert len(span(value)) <= 16
    assert offset(value)[0] in "+-"


def test_words() -> None:
    assert [span(value) for value in (0.04, 59.94, 59.96, 61, 3599.6, 7320, 90_000, None, float("nan"))] == [
        "0.0 s",
        "59.9 s",
        "1 min 00 s",
        "1 min 01 s",
        "1 h 00 min",
        "2 h 02 min",
        "1 d 1 h",
        "",
        "",
    ]
    assert seconds("2026-03-01T03:12:41.250Z") == 1_772_334_761.25
    assert clock(1_772_334_761.25) == "03:12:41"
    assert clock(1e30) == ""
    assert [join(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
