"""A process that appends until it is killed: `journal_writer.py JOURNAL LIFE`; prints the id of each acknowledged run.

Every append is one whole batch: a run with four events and 5 bytes of output.
"""

import asyncio
import os
import sys

from support.journaling import START, Story, make_job

from distcrond.journals.database import Database
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.ids import RunId
from distcrond.ports import Batch


def opened_run(story: Story, number: int) -> tuple[RunId, Batch]:
    job = make_job()
    due = story.due(job, START.replace(microsecond=number))
    chunk = story.said(due.run, b"hello")
    begin = (due, story.opened(due.run, "web1"), story.started(due.run))
    return due.run, story.batch(*story.defined(job), *begin, chunk.stored, chunks=[chunk])


async def feed(journal: SqliteJournal, story: Story, numbers: range) -> None:
    for number in numbers:
        run, batch = opened_run(story, number)
        await journal.append(batch)
        os.write(1, f"{run}\n".encode())


async def main(path: str, life: int) -> None:
    journal = SqliteJournal(Database.open(path))
    story = Story()
    async with asyncio.TaskGroup() as group:
        for feeder in range(16):
            group.create_task(feed(journal, story, range(life * 40_000 + feeder, (life + 1) * 40_000, 16)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
