"""What a real browser makes of hostile output and texts, and what the overview shows (GUARANTEES §8, 22 and 23)."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest
from support.browser import open_page

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)><img src=http://evil.example/pixel>"
HOSTILE = f"{MARKUP}<a href=javascript:alert(3)>x</a>\033]0;title\a\033[31mred\033[0m &lt;b&gt; \u202eevil"


@pytest.fixture(scope="module")
def link(shared):
    """A daemon on a terminal with hostile texts in every place that has room for them; and the link it printed."""
    shared.node("here", roles=["web"], description=MARKUP, labels={"note": MARKUP})
    shared.ssh_node("constructor", {"ssh_host": "127.0.0.1:1", "ssh_user": "x", "ssh_private_key_file": f"/{MARKUP}"})
    texts = {
        "description": MARKUP,
        "labels": {"note": MARKUP},
        "runbook_url": "https://x.example/<script>alert(4)</script>",
    }
    web = {"policy": {"hosts": ["here"]}}
    shared.job("talks", command=["printf", "%s\n", HOSTILE], **texts, **web)
    shared.job("constructor", command=["sh", "-c", 'printf "%s\n" "$1"; exit 7', "sh", MARKUP], **texts, **web)
    shared.job("toString", shell_command=f"echo '{MARKUP}'; sleep 300", **texts, **web)
    printed = shared.start_on_terminal()
    shared.await_nodes(here="up")
    shared.run_job("talks")
    shared.run_job("constructor")
    shared.trigger("toString")
    return printed


def origin(link: str) -> str:
    return "{0.scheme}://{0.netloc}/".format(urlsplit(link))


def assert_harmless(page, link: str) -> None:
    assert page.dialogs == []
    assert [url for url in page.requests if not url.startswith(origin(link))] == []
    assert page.errors == []


async def test_hostile_texts_are_shown_as_text(shared, link):
    [run] = await asyncio.to_thread(shared.all_runs, "&job=talks")
    async with open_page() as page:
        await page.open(link)
        await page.shows("Running now", "toString", "constructor", "exit 7", MARKUP)
        assert_harmless(page, link)
        await page.open(f"{origin(link)}run?id={run['id']}")
        text = await page.shows(MARKUP, "red &lt;b&gt;", "success")
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert await page.value("document.querySelectorAll('#log img, #log script, #log a').length") == 0
        assert await page.value("document.title") == "talks · distcron"
        assert_harmless(page, link)


async def test_the_overview_shows_what_runs_and_what_failed(link):
    async with open_page() as page:
        await page.open(origin(link))
        await page.shows("toString", part="#running")
        await page.shows("constructor", "exit 7", part="#failed")
        await page.shows("constructor", "key unusable", part="#nodes")
        assert_harmless(page, link)


async def test_the_buttons_of_a_run_work_for_the_browser_with_the_link(shared, link):
    [run] = await asyncio.to_thread(shared.all_runs, "&job=toString&state=running")
    link = await asyncio.to_thread(restarted, shared)
    async with open_page() as page:
        await page.open(link)
        await page.shows("Running now")
        await page.open(f"{origin(link)}run?id={run['id']}")
        await page.shows("running", MARKUP)
        await page.value("document.getElementById('cancel').click()")
        await page.shows("cancelled")
        assert_harmless(page, link)
    assert (await asyncio.to_thread(shared.finished, run["id"]))["outcome"] == "cancelled"


async def test_a_run_is_run_again_by_a_button_once_it_has_finished(place):
    place.node("here")
    place.job("waits", shell_command="[ $DISTCRON_TRIGGER = rerun ] || sleep 300")
    link = await asyncio.to_thread(place.start_on_terminal)
    await asyncio.to_thread(place.await_nodes, here="up")
    run = await asyncio.to_thread(place.trigger, "waits")
    async with open_page() as page:
        await page.open(link)
        await page.shows("Running now")
        await page.open(f"{origin(link)}run?id={run}")
        await page.shows("running")
        assert await page.value("document.getElementById('again').hidden")
        await asyncio.to_thread(place.ctl, "cancel", run)
        await page.shows("Run again", part=".tools")
        await page.value("document.getElementById('again').click()")
        await page.shows("Rerun of", run, part="#facts")
        await page.shows("success", part="#outcome")
        assert_harmless(page, link)
    [again] = [each for each in await asyncio.to_thread(place.all_runs) if each["origin"]]
    assert (again["origin"], again["requested_by"].partition(":")[0]) == (run, "browser")


PRESS = "[...document.querySelectorAll('{part} button')].find((one) => one.innerText === '{words}').click()"


async def test_jobs_are_paused_and_nodes_drained_by_a_button(place):
    place.node("here")
    place.job("ticks", schedule="* * * * * *", command=["true"])
    link = await asyncio.to_thread(place.start_on_terminal)
    await asyncio.to_thread(place.await_nodes, here="up")
    async with open_page() as page:
        await page.open(link)
        await page.shows("ticks", "Pause", part="#jobs")
        await page.value(PRESS.format(part="#jobs", words="Pause"))
        await page.shows("paused", "Resume", "by browser:", part="#jobs")
        await page.shows("ticks", "paused", part="#gaps")
        await page.value(PRESS.format(part="#nodes", words="Drain"))
        await page.shows("drained", "Undrain", part="#nodes")
        await page.value(PRESS.format(part="#nodes", words="Undrain"))
        await page.value(PRESS.format(part="#jobs", words="Resume"))
        await page.shows("up", "Drain", part="#nodes")
        await page.shows("next", "Pause", part="#jobs")
        assert_harmless(page, link)


async def test_who_may_only_read_is_told_so_by_the_button(place):
    place.node("here")
    place.job("quiet", command=["true"])
    await asyncio.to_thread(place.start)
    async with open_page() as page:
        await page.open(place.url)
        await page.shows("quiet", "Pause", part="#jobs")
        await page.value(PRESS.format(part="#jobs", words="Pause"))
        await page.shows("one may only read", part="#note")
    assert place.get("jobs/quiet")["paused"] is None


def restarted(place) -> str:
    """A new life has a new link."""
    place.terminate()
    return place.start_on_terminal()


async def test_a_harmful_page_would_be_noticed():
    async with open_page() as page:
        await page.call(
            "Page.navigate", url="data:text/html,<img src=http://127.0.0.1:9/pixel><script>alert(1)</script>"
        )
        await page.tries("http://127.0.0.1:9/pixel")
        assert page.dialogs == ["1"]


# Timers of the page that would ask again by and by never go off: what it shows then, it was told.
NO_POLLING = "const later = window.setTimeout; window.setTimeout = (work, ms) => (ms > 1500 ? 0 : later(work, ms));"


async def test_the_overview_is_told_what_happens(place):
    place.node("here")
    place.job("quiet", command=["sh", "-c", "exit 9"])
    await asyncio.to_thread(place.start)
    await asyncio.to_thread(place.await_nodes, here="up")
    async with open_page() as page:
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=NO_POLLING)
        await page.open(place.url)
        await page.shows("Nothing failed.", "quiet")
        await page.listens(f"{place.url}/api/v1/events")
        await asyncio.to_thread(place.run_job, "quiet")
        await page.shows("quiet", part="#output")
        assert page.errors == []


async def test_output_goes_on_after_a_restart_without_a_gap(place):
    place.node("here")
    place.job("ticks", shell_command="i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.1; done")
    await asyncio.to_thread(place.start)
    await asyncio.to_thread(place.await_nodes, here="up")
    run = await asyncio.to_thread(place.trigger, "ticks")
    place.flags = ["--listen", urlsplit(place.url).netloc]
    async with open_page() as page:
        await page.open(f"{place.url}/run?id={run}")
        await page.shows("tick 3", part="#log")
        await asyncio.to_thread(place.kill)
        await asyncio.to_thread(place.start)
        before = int(await page.value("document.querySelectorAll('#log div').length"))
        await page.shows(f"tick {before + 10}\n", part="#log")
        lines = str(await page.value("[...document.querySelectorAll('#log div')].map((one) => one.innerText).join()"))
        numbers = [int(line.split()[1]) for line in lines.split(",")]
        assert numbers == list(range(len(numbers)))
        await asyncio.to_thread(place.ctl, "cancel", run)
        await page.shows("cancelled", part="#outcome")
