"""The text of a plain remote command: one fixed line in the node's process list, all else on its standard input.

The login shell, whatever it is, sees only `exec /bin/sh -c '…'`, and once more without `exec` and path, which a
restricted shell forbids. That shell reads one line and runs it; a cut line has no end and does not run (LAUNCHER rule
1). Before the command begins it prints a mark, so that what the login shell
printed is no output of the command, and an end without the mark is no run.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass

from distcrond.errors import InvalidValue
from distcrond.model.command import Argv, Command, Script, ShellCommand
from distcrond.model.ids import AttemptId
from distcrond.model.job import Streams
from distcrond.ports import WorkOrder

_SHELL = """exec {sudo}/bin/sh -c '{read}' || {sudo}sh -c '{read}'"""
_READ = 'IFS= read -r line && eval "$line"'
# If sudo's own child is stopped, sudo stops itself, and nobody but root could make it go on: the command is a child of
# that child. What the shell says of a killed child is no output; sudo is to see the signal all the same.
_WITHIN_SUDO = "exec 3>&2 2>/dev/null; ({command} 2>&3 3>&-); c=$?; [ $c -le 128 ] || kill -$((c-128)) $$; exit $c"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GUARD = "case $line in *{key}*) ;; *) echo {text} >&2; exit 126 ;; esac"
_FORCED = "authorized_keys binds this key to a command of its own, which suits durable jobs only"
_NEWLINE = r"n=$(printf '\n_'); n=${n%_}; "
ATTEMPT_VARIABLE = "DISTCRON_ATTEMPT_ID"

_SIGNAL_MARKED = (
    "c=0; d=' '; l=$(grep -lzFx {mark} /proc/[0-9]*/environ 2>/dev/null); l=\" $(echo $l) \"; for e in $l; do "
    "p=${{e#/proc/}}; p=${{p%/environ}}; read -r s 2>/dev/null </proc/$p/stat || continue; "
    'set -- ${{s##*) }}; [ "$1" = Z ] && continue; c=$((c+1)); {kill}done; echo "left $c"'
)
# A group whose leader is of the tree is signalled once as a whole: a second TERM means "at once" to some. A stopped
# process would keep TERM in its letter box.
_KILL = (
    'case $l in *" /proc/$3/environ "*) t=-$3 ;; *) t=$p ;; esac; '
    'case $d in *" $t "*) ;; *) d="$d$t "; kill -{name} $t 2>/dev/null; kill -CONT $t 2>/dev/null ;; esac; '
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCommand:
    """What to ask of the server (`text`) and what to send after it (`stdin`)."""

    text: str
    stdin: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Lines the shell prints before the command: it begins now, or its directory is not there."""

    begun: bytes
    no_directory: bytes


def marks(attempt: AttemptId) -> Marks:
    """The marks of an attempt; they cannot be in the way of what a login shell prints."""
    key = hashlib.sha256(attempt.encode()).hexdigest()[:24]
    return Marks(begun=f"{key} begun\n".encode(), no_directory=f"{key} no directory\n".encode())


def plain_command(order: WorkOrder) -> RemoteCommand:
    """Write the command of an order.

    Raises:
        InvalidValue: a name or value that no shell can hold (NUL, a variable's name with other characters).
    """
    mark = marks(order.attempt)
    environment = {**order.environment, ATTEMPT_VARIABLE: order.attempt}
    # A forced command that is a shell reads this line too, and ahead: the script behind it would be lost.
    steps = [_GUARD.format(key=mark.begun.split()[0].decode(), text=shlex.quote(_FORCED))]
    steps += [f"export {' '.join(_assignment(name, value) for name, value in environment.items())}"]
    if order.umask is not None:
        steps.append(f"umask {order.umask:04o}")
    if order.working_directory is not None:
        lost = shlex.quote(mark.no_directory.decode().rstrip())
        steps.append(f"CDPATH= cd {_quote(order.working_directory)} || {{ printf '%s\\n' {lost}; exit 1; }}")
    elif order.run_as is not None:
        steps.append("CDPATH= cd 2>/dev/null || cd /")
    begun = f"printf '%s\\n' {shlex.quote(mark.begun.decode().rstrip())}"
    merged = order.output.streams is Streams.MERGED
    steps.append(f"exec 2>&1; {begun}" if merged else f"{begun}; {begun} >&2")  # the streams keep no common order
    words, source = _words(order.command)
    command = f"exec {' '.join(map(_quote, words))}{' </dev/null' if source is None else ''}"
    steps.append(command if order.run_as is None else _WITHIN_SUDO.format(command=command))
    return RemoteCommand(text=_shell(order.run_as), stdin=_line("; ".join(steps)) + (source or b""))


def signal_command(attempt: AttemptId, name: str | None, run_as: str | None) -> RemoteCommand:
    """Send a signal (None: only look) to every process of an attempt, and to the groups they lead.

    The answer's last line is `left N`: how many there were.
    """
    kill = _KILL.format(name=name) if name else ""
    line = _SIGNAL_MARKED.format(mark=_quote(f"{ATTEMPT_VARIABLE}={attempt}"), kill=kill)
    return RemoteCommand(text=_shell(run_as), stdin=_line(line))


def question(text: str) -> RemoteCommand:
    """A line of shell that only asks."""
    return RemoteCommand(text=_shell(None), stdin=_line(text))


def _words(command: Command) -> tuple[tuple[str, ...], bytes | None]:
    """The words to run, and what their standard input is, if not empty."""
    match command:
        case Argv():
            return command.words, None
        case ShellCommand():
            return ("/bin/sh", "-c", command.text), None
        case Script():
            return command.interpreter, _bytes(command.source)


def _shell(run_as: str | None) -> str:
    return _SHELL.format(sudo="" if run_as is None else f"sudo -n -u {shlex.quote(run_as)} -- ", read=_READ)


def _line(text: str) -> bytes:
    """One line for `read`: newlines inside quotes become a variable that holds one."""
    prefix = _NEWLINE if '"$n"' in text else ""
    return _bytes(f"{prefix}{text}") + b"\n"


def _assignment(name: str, value: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidValue(f"{name!r} is not the name of a variable")
    return f"{name}={_quote(value)}"


def _quote(text: str) -> str:
    if "\0" in text:
        raise InvalidValue("NUL in a command or variable")
    return "'" + text.replace("'", "'\\''").replace("\n", "'\"$n\"'") + "'"


def _bytes(text: str) -> bytes:
    """Text as files and arguments spell it: bytes that are no UTF-8 come back as they were."""
    return text.encode("utf-8", "surrogateescape")
