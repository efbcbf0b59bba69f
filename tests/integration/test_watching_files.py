"""The dashboard and the alerts speak of metrics that the processes tell, by labels they have."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from runtime.settings import Settings
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER
from tests.support.watched import watched_service

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "customers.json"
# Given by Prometheus itself.
SCRAPE_LABELS = {"job", "instance"}
SCRAPE_METRICS = {"up", "ALERTS"}
NAME = re.compile(r"\b(?:customers|process)_\w+|\bup\b")
SELECTOR = re.compile(r"((?:customers|process)_\w+|\bup\b)\{([^}]*)\}")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
MATCHER = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*\"([^\"]*)\"")


def alerts() -> list[dict[str, Any]]:
    """Every rule of the file."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Every panel of the dashboard that shows something."""
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def questions() -> Iterator[str]:
    """All that is asked of Prometheus."""
    yield from (rule["expr"] for rule in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


async def test_every_metric_they_name_is_told_with_the_labels_they_ask_for(
    settings: Settings,
) -> None:
    async with watched_service(settings) as service:
        await service.api.post(CUSTOMERS, json=REFERENCE_CUSTOMER)
        await service.caught_up()
        pages = await service.pages()
    labels: dict[str, dict[str, set[str]]] = {}
    for page in pages.values():
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                known = labels.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    known.setdefault(label, set()).add(value)
    for question in questions():
        names = set(NAME.findall(question)) - SCRAPE_METRICS
        assert names <= labels.keys(), f"{names - labels.keys()} in {question}"
        told = set[str]().union(*(labels[name] for name in names)) | SCRAPE_LABELS
        grouped = {label.strip() for by in GROUPING.findall(question) for label in by.split(",")}
        assert grouped <= told, question
        for name, matchers in SELECTOR.findall(question):
            for label, kind, value in MATCHER.findall(matchers):
                assert label in told, question
                if label in {"condition", "check"} and kind in {"=~", "!~"}:
                    assert set(value.split("|")) <= labels[name][label], question


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["annotations"]["description"].endswith(".")


def test_no_two_panels_lie_over_one_another() -> None:
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels()
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
def test_prometheus_takes_the_alerts_and_they_fire_when_they_should() -> None:
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]):
        subprocess.run(["promtool", *command], cwd=ALERTS.parent, check=True, capture_output=True)
