"""Saved objects for Kibana: whole in themselves, about fields that there are, and imported as Kibana wants it.

No Kibana runs here: its import is a strict stub, its panels are asked as queries of a real Elasticsearch.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.journaling import START, Story, make_job
from support.kibana_stub import TYPES, KibanaStub, open_kibana
from support.reporting import open_rig, sink_for

from distcrond.cli.kibana.bundle import ndjson, object_id, saved_objects
from distcrond.model.run import Outcome

PROGRAM = Path(sys.executable).parent / "distcronctl"
ROOT = Path(__file__).parents[2]
OBJECTS = list(saved_objects("distcron"))
VIEWS = ("runs", "executions", "output", "audit")
HOLDS_JSON = ("fieldFormatMap", "fields", "typeMeta", "runtimeFieldMap", "fieldAttrs", "sourceFilters")
_prefixes = (f"k{os.getpid()}-{number}" for number in itertools.count())


def fields_of(view: str) -> dict[str, str]:
    """Field → type, as the template of the indices behind a data view has it."""
    template = json.loads((ROOT / "distcrond/sinks/templates" / f"{view}.json").read_text())

    def walk(properties: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
        for name, content in properties.items():
            if "properties" in content:
                yield from walk(content["properties"], f"{path}{name}.")
            else:
                yield path + name, content["type"]

    return dict(walk(template["template"]["mappings"]["properties"], ""))


def dashboard(prefix: str = "distcron") -> dict[str, Any]:
    (found,) = [each for each in saved_objects(prefix) if each["type"] == "dashboard"]
    return found


def panels(prefix: str = "distcron") -> list[dict[str, Any]]:
    return json.loads(dashboard(prefix)["attributes"]["panelsJSON"])


def lens_panels(prefix: str = "distcron") -> list[tuple[str, dict[str, Any]]]:
    """The data view's name and the attributes of each panel of Lens."""
    views = {object_id(prefix, "index-pattern", name): name for name in VIEWS}
    lenses = [panel["embeddableConfig"]["attributes"] for panel in panels(prefix) if panel["type"] == "lens"]
    return [(views[lens["references"][0]["id"]], lens) for lens in lenses]


def columns(lens: dict[str, Any]) -> dict[str, dict[str, Any]]:
    (layer,) = lens["state"]["datasourceStates"]["formBased"]["layers"].values()
    assert set(layer["columnOrder"]) == set(layer["columns"])
    return {name: layer["columns"][name] for name in layer["columnOrder"]}


# ---------------------------------------------------------------- the file


def test_the_shipped_file_is_what_is_imported():
    assert (ROOT / "etc-example/kibana/distcrond.ndjson").read_bytes() == ndjson("distcron")


def test_every_reference_leads_to_an_object_of_the_file():
    there = {(each["type"], each["id"]) for each in OBJECTS}
    assert len(there) == len(OBJECTS)
    for each in OBJECTS:
        assert each["typeMigrationVersion"] == TYPES[each["type"]]
        for reference in each["references"]:
            assert (reference["type"], reference["id"]) in there
        assert len({reference["name"] for reference in each["references"]}) == len(each["references"])


def test_texts_that_hold_json_do():
    for each in OBJECTS:
        texts = {**each["attributes"], **each["attributes"].get("kibanaSavedObjectMeta", {})}
        for name, text in texts.items():
            if name.endswith("JSON") or name in HOLDS_JSON:
                json.loads(text)


def test_every_panel_is_named_by_the_dashboards_references():
    names = {reference["name"]: reference["id"] for reference in dashboard()["references"]}
    for panel in panels():
        index = panel["panelIndex"]
        if panel["type"] == "search":
            assert f"{index}:{panel['panelRefName']}" in names
        else:
            (own,) = panel["embeddableConfig"]["attributes"]["references"]
            assert names[f"{index}:{own['name']}"] == own["id"]
        assert panel["gridData"]["i"] == index
    assert len(names) == len(panels())


def test_panels_do_not_lie_on_one_another():
    taken = set()
    for panel in panels():
        grid = panel["gridData"]
        cells = set(itertools.product(range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])))
        assert grid["x"] + grid["w"] <= 48
        assert not cells & taken
        taken |= cells


KINDS = {"string": {"keyword"}, "date": {"date"}, "number": {"long"}}


def test_every_field_exists_and_is_of_the_kind_that_its_column_needs():
    for view, lens in lens_panels():
        fields = fields_of(view)
        for column in columns(lens).values():
            if column["operationType"] != "count":
                assert fields[column["sourceField"]] in KINDS[column["dataType"]], (view, column)
        for query in [lens["state"]["query"], *(column.get("filter") for column in columns(lens).values())]:
            for field in (query or {}).get("query", "").split(" and "):
                assert not field or field.split(":")[0] in fields
    for each in OBJECTS:
        if each["type"] == "search":
            view = next(name for name in VIEWS if object_id("distcron", "search", name) == each["id"])
            assert set(each["attributes"]["columns"]) <= fields_of(view).keys()


def test_looks_name_columns_that_there_are():
    for _, lens in lens_panels():
        look = lens["state"]["visualization"]
        layers = look.get("layers", [look])
        named = [layer.get(key) for layer in layers for key in ("metricAccessor", "xAccessor", "splitAccessor")]
        named += [name for layer in layers for name in layer.get("accessors", [])]
        named += [each["columnId"] for layer in layers for each in layer.get("columns", [])]
        assert {name for name in named if name} == columns(lens).keys()


def test_another_prefix_has_objects_of_its_own():
    own = {each["id"] for each in saved_objects("cron-prod")}
    assert not own & {each["id"] for each in OBJECTS}
    titles = [each["attributes"]["title"] for each in saved_objects("cron-prod") if each["type"] == "index-pattern"]
    assert titles == [f"cron-prod-{name}-*" for name in VIEWS]


# ---------------------------------------------------------------- asked of a real server


def as_search(lens: dict[str, Any]) -> dict[str, Any]:
    """What Lens would ask: buckets inside one another in their order, metrics in the innermost."""
    ordered = columns(lens)
    metrics: dict[str, Any] = {}
    for name, column in ordered.items():
        if column["operationType"] == "percentile":
            metrics[name] = {
                "percentiles": {"field": column["sourceField"], "percents": [column["params"]["percentile"]]}
            }
        elif column.get("filter"):
            metrics[name] = {"filter": lucene(column["filter"]["query"])}
    for name, column in reversed(ordered.items()):
        if column["operationType"] == "date_histogram":
            histogram = {"field": column["sourceField"], "fixed_interval": "1d"}
            metrics = {name: {"date_histogram": histogram, "aggs": metrics}}
        elif column["operationType"] == "terms":
            order = column["params"]["orderBy"]["columnId"]
            assert ordered[order]["operationType"] == "count"
            metrics = {
                name: {"terms": {"field": column["sourceField"], "size": column["params"]["size"]}, "aggs": metrics}
            }
    return {"size": 0, "query": lucene(lens["state"]["query"]["query"]), "aggs": metrics}


def lucene(query: str) -> dict[str, Any]:
    text = query.replace(" or ", " OR ").replace(" and ", " AND ").replace(": ", ":")
    return {"query_string": {"query": text}} if text else {"match_all": {}}


async def test_every_panel_has_an_answer_on_a_real_server(elastic, tmp_path):
    server, prefix = elastic.of(9), next(_prefixes)
    story = Story()
    outcomes = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.SKIPPED)
    batches = [
        story.whole(make_job(f"j{n % 2}"), b"said\n", outcome=outcomes[n % 3], nominal=START + timedelta(minutes=n))
        for n in range(12)
    ]
    async with open_rig(tmp_path, prefix, sink_for(server.url, prefix)) as rig:
        await rig.feed(*batches)
        async with rig.running():
            await rig.drained()
    try:
        server.ask("POST", f"/{prefix}-*/_refresh")
        for view, lens in lens_panels(prefix):
            answer = server.ask("POST", f"/{prefix}-{view}-*/_search", as_search(lens))
            assert answer["_shards"]["failed"] == 0
            assert answer["hits"]["total"]["value"] > 0, lens["title"]
            for name, found in answer.get("aggregations", {}).items():
                assert found.get("buckets") or found.get("values") or found.get("doc_count"), (lens["title"], name)
    finally:
        server.wipe(prefix)


# ---------------------------------------------------------------- imported


@pytest.fixture
def kibana() -> Iterator[KibanaStub]:
    with open_kibana() as stub:
        yield stub


def setup(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", **variables}
    done = subprocess.run(
        [PROGRAM, "kibana", *words], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in done.stderr
    return done


def test_the_import_can_be_repeated(kibana):
    for _ in range(2):
        done = setup("setup", "--url", kibana.url)
        assert (done.returncode, done.stderr) == (0, f"{len(OBJECTS)} objects are in Kibana\n")
    assert [each["id"] for each in kibana.spaces[""].values()] == [each["id"] for each in OBJECTS]


def test_what_is_there_may_stay(kibana):
    setup("setup", "--url", kibana.url)
    kept = setup("setup", "--url", kibana.url, "--keep")
    assert (kept.returncode, kept.stderr) == (0, "0 objects are in Kibana\n")


def test_spaces_and_prefixes(kibana):
    done = setup(
        "setup", "--url", f"{kibana.url}/", "--space", "operations", "--index-prefix", "cron-prod", "-o", "json"
    )
    assert (done.returncode, json.loads(done.stdout)["success"]) == (0, True)
    assert kibana.spaces[""] == {}
    assert ("dashboard", object_id("cron-prod", "dashboard", "overview")) in kibana.spaces["/s/operations"]
    assert setup("setup", "--url", kibana.url, "--space", "none").returncode == 3


def test_who_asks(kibana, tmp_path):
    kibana.login("anna", "secret")
    (tmp_path / "password").write_text("secret\n")
    refused = setup("setup", "--url", kibana.url)
    assert (refused.returncode, "Kibana refuses: Unauthorized" in refused.stderr) == (4, True)
    asked = ("setup", "--url", kibana.url, "--username", "anna")
    assert setup(*asked, "--password-file", str(tmp_path / "password")).returncode == 0
    assert setup(*asked, KIBANA_PASSWORD="secret").returncode == 0
    assert setup(*asked, KIBANA_PASSWORD="wrong").returncode == 4
    kibana.authorization = "ApiKey abc="
    (tmp_path / "key").write_text("abc=")
    assert setup("setup", "--url", kibana.url, "--api-key-file", str(tmp_path / "key")).returncode == 0
    (tmp_path / "key").write_text("")
    assert setup("setup", "--url", kibana.url, "--api-key-file", str(tmp_path / "key")).returncode == 2


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>", "unexpected answer"),
        (200, b"[]", "unexpected answer"),
        (502, b"bad gateway", "502"),
        (400, b'{"message": "belongs to a more recent version of Kibana"}', "more recent version"),
        (302, b"", "302"),
    ],
)
def test_what_is_no_kibana(kibana, status, body, words):
    kibana.answer = (status, "text/html", body)
    done = setup("setup", "--url", kibana.url)
    assert (done.returncode, words in done.stderr) == (1, True)


def test_errors_of_single_objects_are_named(kibana):
    errors = [{"type": "dashboard", "id": "x", "meta": {"title": "what runs"}, "error": {"type": "missing_references"}}]
    kibana.answer = (
        200,
        "application/json",
        json.dumps({"successCount": 7, "success": False, "errors": errors}).encode(),
    )
    done = setup("setup", "--url", kibana.url)
    assert (done.returncode, done.stderr) == (
        1,
        "dashboard what runs: missing_references\n7 objects are in Kibana, 1 are not\n",
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--url", "localhost:5601"], 2, "no address"),
        (["--url", "http://127.0.0.1:9"], 5, "cannot reach"),
        (["--url", "http://kibana.example.com", "--username", "a"], 2, "readable over the network"),
        (["--url", "https://127.0.0.1:9", "--ca-file", "/nonexistent"], 2, "--ca-file"),
        (["--url", "http://127.0.0.1:9", "--index-prefix", "Cron*"], 2, "index_prefix"),
        (["--url", "http://127.0.0.1:9", "--password-file", "/nonexistent", "--username", "a"], 2, "--password-file"),
        ([], 2, "--url"),
    ],
)
def test_what_means_nothing(words, code, said):
    done = setup("setup", *words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_export_prints_the_file():
    assert setup("export").stdout.encode() == ndjson("distcron")
