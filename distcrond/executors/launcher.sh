# launcher.sh: all shell that distcrond runs on a node. Nothing is installed and this text is not stored there: the
# daemon sends it (comments stripped) to the standard input of `sh -s`, and then one line `{ verb ... ; }` per request.
# The braces turn a line that was cut on its way into a syntax error instead of another command (LAUNCHER rule 1).
#
# Works in dash, bash (as sh) and busybox ash, on Linux. The traps that shaped it are told where they are avoided.
#
# Descriptors   0 requests, 1 data blocks, 9 event lines `@nonce word ...` (the first stderr; the shell's complaints go
#               to /dev/null). In supervisors also 3, 7, 8: the job's stdin, stdout, stderr.
# Names         begin with dc_: assigning to a name that came with the environment would change what jobs see of it.
# The spool     is the working directory of this shell, so that replacing the path cannot move us elsewhere:
#   id                   random id of this spool
#   generation.DAEMON.N.LIFE  the latest start of that daemon; a newer one removes the older one's file
#   KEY.run              record of an attempt and its fence: its exclusive creation is the right to begin. Lines:
#                          claim TOKEN BOOT PID BIRTH SUPERVISOR USER DAEMON GENERATION DEFINITION ;
#                          began PID BIRTH       with run_as only: the process inside sudo
#                          limit REASON          somebody is about to end it: `timeout`, `cancelled`
#                          exit CODE | eof STREAM PRINTED HEAD LAST TOKEN | refused REASON TOKEN | fenced | lost REASON
#   KEY.no               a verdict on a record without a claim: the command will not begin
#   KEY.m, KEY.o, KEY.e  head of the merged, or of the separate output; KEY.m1, KEY.m2 ...: segments of its tail in turn
# TOKEN names one request to start: a second request for the same attempt finds the record of the first.
# PID and BIRTH (start time, field 22 of /proc/PID/stat) name a process for as long as BOOT (the boot id) holds.
#
# Whoever adopts a run without this text needs no more than these files and /proc (`tests/contract/test_spool_protocol.py`
# does):
#   state    a line without its end, and a claim without its `;`, do not count. The first of refused, lost, fenced is the
#            verdict; else `exit` is (above 128 a signal; if the claim has a USER, which is `-` for none, only with a
#            `began`). Else, by the claim: another BOOT is lost(rebooted); it runs as long as PID with its BIRTH lives, or
#            SUPERVISOR does and is not younger than BIRTH; a zombie does not live. If neither does, read once more: it
#            may have ended meanwhile. Still no word: append `lost supervisor`. No claim for long: create KEY.no, read
#            once more, and without a claim append an empty line and `refused supervisor`.
#   nothing  without a record, create KEY.run exclusively with the line `fenced`: no start of it will ever begin. That it
#            never began is proved if `id` and the boot id are those of the intent, and nothing printed or carries the key.
#   output   the head grows from its first byte on. After the `eof` with the TOKEN of the claim it has HEAD bytes; the last
#            of all PRINTED bytes are in segment LAST % 2 + 1, and before them, if LAST > 0, those of the other one, which
#            is full; what lies between is gone. LAST is -1 without a tail; with PRINTED above HEAD the disk was full, and
#            PRINTED is a lower bound. A child of the job may hold a stream for ever: then there is no `eof`; the `dd` that
#            writes into one of its files has the LAST of now in its environment, as `dc_last`.
#   stop     append `limit REASON`, then signal the group PID (with a USER, that of `began`) and all who have
#            DISTCRON_ATTEMPT_ID=KEY in their environment: TERM, after a while KILL, and look whether any are left.
#   forget   remove the output, never the record: for as long as anybody may ask for a start of it, it is the fence.
#
# `read` takes one system call per byte in dash and ash: on the way of every run only one line is read.

# ================================================================ shared: also sent into `sudo -u USER sh`

# numbers_of PID: sets dc_life (the letter of its state), dc_group and dc_birth; fails if there is no such process.
# A process may call itself anything, with blanks, brackets and newlines: fields count from the last `) `.
numbers_of() {
  dc_line=
  while read -r dc_part; do dc_line="$dc_line $dc_part"; done <"/proc/$1/stat" || return 1
  set -- ${dc_line##*) }
  [ $# -ge 20 ] || return 1
  dc_life=$1 dc_group=$3 dc_birth=${20}
}

# self: sets dc_pid, dc_parent and dc_birth of whoever calls it; $$ names the outermost shell even in a subshell.
# On the way of every run: a shell's own name is one word, so there is no need to search for its end.
self() {
  read -r dc_line </proc/self/stat || return
  set -- $dc_line
  case $2 in *')') dc_pid=$1 dc_parent=$4 dc_birth=${22} ;; *) return 1 ;; esac
}

# members KEY LEADER: every process that carries the attempt's key in its environment, or is in its leader's session, and
# the leader itself: for a moment it is still a shell of ours, without a session and a key of its own.
members() {
  {
    if [ "$dc_scan" = grep ]; then
      grep -lzFx -e "DISTCRON_ATTEMPT_ID=$1" /proc/[0-9]*/environ
    else
      for dc_file in /proc/[0-9]*/environ; do
        tr '\0' '\n' <"$dc_file" | grep -qFx -e "DISTCRON_ATTEMPT_ID=$1" && echo "$dc_file"
      done
    fi
    # pid (name) state parent group session: no zombies, they cannot be killed any deader
    [ -z "$2" ] || grep -lE -e "^$2 \(.*\) [^ZX] |^[0-9]+ \(.*\) [^ZX] [0-9]+ ($2 [0-9]+|[0-9]+ $2) " /proc/[0-9]*/stat
  } 2>/dev/null | while IFS=/ read -r dc_part dc_part dc_member dc_part; do echo "$dc_member"; done
}

# tree SIGNAL KEY LEADER: signal the whole tree and print how many are left; SIGNAL 0 only looks.
# KILL looks again and again: whoever was just forking may have missed the first one. Each look reads all of /proc.
tree() {
  dc_round=0
  while :; do
    # `kill -TERM -- -PID` is refused by dash and ash
    [ "$1" = 0 ] || [ -z "$3" ] || kill "-$1" "-$3"
    dc_found=$(members "$2" "$3")
    [ "$1" != 0 ] && [ -n "$dc_found" ] && [ $dc_round -lt 5 ] || break
    for dc_member in $dc_found; do
      numbers_of "$dc_member" || continue
      # the group has it already, and a second TERM means "at once" to some
      [ "$dc_group" = "$3" ] || kill "-$1" "$dc_member"
      # a stopped process would keep TERM in its letter box
      [ "$1" = KILL ] || kill -CONT "$dc_member"
    done
    [ "$1" = KILL ] || set -- 0 "$2" "$3"
    dc_round=$((dc_round + 1))
  done 2>/dev/null
  set -- $dc_found
  echo $#
}

# become UMASK DIRECTORY [e NAME=VALUE]... x WORD...: turn this subshell into the job, by way of `refuse` or `claim`.
become() {
  trap - HUP PIPE INT QUIT
  self || refuse fork_refused
  [ "$1" = - ] || dc_umask=$1
  [ -z "$2" ] || CDPATH= cd "$2" >/dev/null 2>&1 || refuse working_directory
  unset OLDPWD
  shift 2
  while [ "$1" = e ]; do
    command export "$2" || refuse environment
    shift 2
  done
  shift
  set -- "$dc_setsid" "$@"
  # `&` left INT and QUIT ignored; dash and ash never let a script undo that, env of coreutils does
  [ -z "$dc_env" ] || set -- "$dc_env" --default-signal=INT,QUIT "$@"
  claim
  [ -z "$dc_umask" ] || umask "$dc_umask"
  go "$@"
}

# within_sudo TOKEN SCRIPT UMASK DIRECTORY [e NAME=VALUE]... x WORD...: what runs as the other user.
# The first line of its stdout tells the reader outside that the command begins, or why not. The job is a child of this
# shell, not of sudo: if sudo's own child is stopped, sudo stops itself, and nobody but root could make it go on.
within_sudo() {
  dc_token=$1 dc_script=$2
  shift 2
  # what this shell says of a killed child is no output of the job
  exec 8>&2 2>/dev/null
  go() { exec "$@" 2>&8 8>&-; }
  claim() { echo "@$dc_token began $dc_pid $dc_birth"; }
  refuse() { echo "@$dc_token refused $1"; exit 125; }
  cd "$HOME" >/dev/null 2>&1 || cd /
  if [ -n "$dc_script" ]; then
    printf %s "$dc_script" | (become "$@")
  else
    (become "$@") </dev/null
  fi
  # without it a shell may turn itself into its last command
  exit $?
}

# ================================================================ private

# say WORD ...: one event line, short enough to be one atomic write.
say() { echo "@$dc_nonce $*" >&9; }

# ---------------------------------------------------------------- begin

# b NONCE DAEMON GENERATION LIFE SPARE_ID KEEP_MINUTES DIRECTORY: check the node, open the spool, say `ready`.
b() {
  # bash takes options from an exported SHELLOPTS
  set +efuC
  exec 9>&2 2>/dev/null
  # a login script may have left a line without its end
  echo >&9
  dc_nonce=$1 dc_daemon=$2 dc_generation=$3 dc_once=$4 dc_keep=$6 dc_home=$PWD dc_unswept=1
  trap '' HUP PIPE
  # a shell that cannot fork ends at once; bash tries for 15 seconds before
  trap 'unfit fork_refused "no process can be made"' EXIT
  dc_umask=$(umask) dc_marks=
  umask 077
  examine_node
  enter_spool "$7"
  identify_spool "$5"
  raise_generation
  trap - EXIT
  say ready "$dc_spool" "$dc_boot"
  # whatever a login script printed before this is not ours
  echo "@$dc_nonce data"
}

# unfit REASON TEXT: this node or spool cannot do it; nothing was started.
unfit() {
  trap - EXIT
  say unfit "$@"
  exit 0
}

examine_node() {
  read -r dc_boot </proc/sys/kernel/random/boot_id && self || unfit node_unsupported 'no Linux /proc'
  for dc_tool in dd grep find stat head tail cat rm ln tr sleep setsid; do
    command -v $dc_tool >/dev/null || unfit node_unsupported "no $dc_tool"
  done
  # an external printf would show scripts to ps
  [ "$(command -v printf)" = printf ] || unfit node_unsupported 'printf is no builtin'
  # by full path: a search of PATH in every run is dear, and jobs may change it
  dc_setsid=$(command -v setsid) dc_dd=$(command -v dd)
  dc_env= dc_scan=grep
  [ -n "$BASH_VERSION" ] || dc_env=$(command -v env)
  # nearly every node can do both, and opening it is to be quick: one question first
  printf 'a\0b\0' | ${dc_env:+"$dc_env" --default-signal=INT,QUIT} grep -qzFx b && return
  [ -n "$dc_env" ] && env --default-signal=INT,QUIT true || dc_env=
  printf 'a\0b\0' | grep -qzFx b || dc_scan=tr
}

enter_spool() {
  dc_machine=
  read -r dc_machine </etc/machine-id || read -r dc_machine </proc/sys/kernel/hostname
  case $dc_machine in '' | .* | *[!A-Za-z0-9._-]*) dc_machine=unnamed ;; esac
  dc_base=${1:-${XDG_STATE_HOME:-$HOME/.local/state}/distcron}
  case $dc_base in /*) ;; *) unfit spool_unusable 'the path is not absolute' ;; esac
  [ -d "$dc_base" ] || mkdir -p "$dc_base"
  enter_own "$dc_base"
  [ -d "$dc_machine" ] || mkdir "$dc_machine"
  enter_own "$dc_machine"
  case $(ls -ld . ..) in drwx------*'
'drwx------*) ;; *) unfit spool_unusable 'mode is not 0700' ;; esac
  dc_here=$PWD
}

# enter_own DIRECTORY: go there and only then look at `.`: what was checked is what is used.
enter_own() {
  [ ! -h "$1" ] || unfit spool_unusable 'a symbolic link'
  CDPATH= cd -P "$1" >/dev/null || unfit spool_unusable 'cannot be made or entered'
  [ -O . ] || unfit spool_unusable 'belongs to another user'
}

# identify_spool SPARE: the first launcher names the spool; `ln` makes the name appear with its content or not at all.
identify_spool() {
  if [ ! -e id ]; then
    echo "$1" >"id.$1" && ln "id.$1" id
    rm -f "id.$1"
  fi
  dc_spool=
  read -r dc_spool <id
  case $dc_spool in '' | *[!0-9a-f]*) unfit "$(why_not)" 'no spool id can be written' ;; esac
}

# why_not: name the cause of a failed write. The shell hides errno: a directory that looks right is taken for full.
why_not() {
  if [ -w . ] && [ -e "$dc_here" ]; then echo spool_full; else echo spool_unusable; fi
}

# raise_generation: announce ours, then look for others. Of two that do so at once, at least one sees the other.
# Copies of one journal may reach the same number: LIFE, which is chance, tells them apart, and the first one stays.
raise_generation() {
  dc_mine=generation.$dc_daemon.$dc_generation.$dc_once
  command : >"$dc_mine" || unfit "$(why_not)" 'no file can be made'
  for dc_file in "generation.$dc_daemon."*; do
    [ "$dc_file" != "$dc_mine" ] || continue
    dc_number=${dc_file#generation.*.} dc_number=${dc_number%%.*}
    if [ "$dc_number" -ge "$dc_generation" ]; then
      rm -f "$dc_mine"
      unfit stale_generation "another life of it, generation $dc_number, was here; this is generation $dc_generation"
    fi
    rm -f "$dc_file"
  done
}

# sweep: at most once an hour forget released records after KEEP_MINUTES, and what nobody ever fetched after 30 days.
# A released attempt has no output file, or an empty one; one that still runs is not touched, however old.
sweep() {
  [ -z "$(find swept -mmin -60)" ] || exit
  command : >swept
  find . -type f -name '*.run' -mmin "+$dc_keep" | while read -r dc_file; do
    dc_key=${dc_file%.run}
    if [ -s "$dc_key.m" ] || [ -s "$dc_key.o" ] || [ -s "$dc_key.e" ]; then
      [ -n "$(find "$dc_file" -mmin +43200)" ] || continue
    fi
    read_record "$dc_key"
    [ -n "$dc_state" ] || ! lives || continue
    for dc_file in run no m m1 m2 o o1 o2 e e1 e2; do echo "$dc_key.$dc_file"; done
  done | xargs rm -f
}

# ---------------------------------------------------------------- start

# m KEY TOKEN DEFINITION USER HEAD SEGMENT LIMIT GRACE UMASK DIRECTORY [e NAME=VALUE]... x WORD...
#     Run it, stdout and stderr merged. Supervisor and reader are children of this shell, which reaps them; they
#     outlive it. `dd`, and `sleep` if there is a LIMIT, are the only programs of ours that run beside the job.
m() { merged "$@" 3</dev/null | collect m "$@" >/dev/null & }

# s ...: the same with separate streams.
s() {
  { separate "$@" 3</dev/null | collect e "$@" 7>&- >/dev/null; } 7>&1 | collect o "$@" >/dev/null &
}

# mi INPUT ..., si INPUT ...: the job's stdin is a pipe with that text. No here-document: bash may put it into a file.
mi() {
  dc_input=$1
  shift
  feed "$4" | merged "$@" 3<&0 | collect m "$@" >/dev/null &
}
si() {
  dc_input=$1
  shift
  { feed "$4" | separate "$@" 3<&0 | collect e "$@" 7>&- >/dev/null; } 7>&1 | collect o "$@" >/dev/null &
}

# merged ..., separate ...: the supervisor, with the job's streams where `go` takes them. By `exec`: dash and ash keep
# a copy of what a redirection of one call replaces, and the limit must not hold the job's pipe.
merged() {
  exec 7>&1 8>&1 </dev/null >/dev/null
  supervise m "$@"
}
separate() {
  exec 8>&1 </dev/null >/dev/null
  supervise 'o e' "$@"
}

# feed USER: print the input; a shell inside sudo first gets the functions and facts it needs.
feed() {
  [ -z "$1" ] || printf '%s\n' "$dc_shared" "dc_scan=$dc_scan dc_env='$dc_env' dc_setsid='$dc_setsid'"
  printf %s "$dc_input"
}

# supervise STREAMS (arguments of `m`): see to it that the output can be kept, run the job, record how it ended.
supervise() {
  dc_streams=$1 dc_key=$2 dc_token=$3 dc_definition=$4 dc_user=$5
  shift
  [ -e "$dc_mine" ] || outdated
  for dc_stream in $dc_streams; do
    # without `command`, a redirection that fails ends the shell
    command : >>"$dc_key.$dc_stream" || refuse "$(why_not)"
  done
  dc_limit=
  # first: a shell that cannot fork ends, and must not leave a job without a supervisor
  [ "$7" = 0 ] || { limit "$7" "$8" & dc_limit=$!; }
  (job "$@") &
  dc_child=$!
  exec 3<&-
  wait $dc_child
  dc_code=$?
  [ -z "$dc_limit" ] || dismiss $dc_limit
  conclude $dc_code
}

# outdated: a newer start of this daemon, or somebody with `rm`, took away our right to start anything.
# That is said of us and not of the attempt, so it leaves no tombstone: the latest one may start it.
outdated() {
  [ -e id ] || refuse spool_gone
  if [ -e "$dc_key.run" ]; then say dup "$dc_key"; else say refused "$dc_key" stale_generation; fi
  exit 125
}

# job KEY TOKEN DEFINITION USER HEAD SEGMENT LIMIT GRACE UMASK DIRECTORY ...: in the subshell that becomes the job.
job() {
  shift 8
  cd "$dc_home" 2>/dev/null || cd /
  [ -z "$dc_user" ] || become_sudo
  become "$@"
}

# go PROGRAM WORD...: only now the job's own streams: nothing that a shell complains of may get into them.
go() { exec "$@" <&3 >&7 2>&8 3<&- 7>&- 8>&- 9>&-; }

# claim: whoever creates the record may begin, and his identity is on the disk before he does (LAUNCHER rules 7, 8).
# To the kernel creating and writing are two steps. Somebody who finds the record empty for long makes KEY.no and looks
# again; we write and look for KEY.no then. One of the two sees what the other did.
claim() {
  set -C
  dc_made= dc_written=
  {
    dc_made=1
    echo "claim $dc_token $dc_boot $dc_pid $dc_birth $dc_parent ${dc_user:--}" \
      "$dc_daemon $dc_generation $dc_definition ;" >&4 && dc_written=1
  } 4>"$dc_here/$dc_key.run"
  if [ -z "$dc_made" ]; then
    # there is one already: the supervisor tells. There is none: it could not be made
    [ -e "$dc_here/$dc_key.run" ] || say refused "$dc_key" "$(why_not)"
    exit 125
  fi
  [ -n "$dc_written" ] || unsay "$(why_not)"
  [ ! -e "$dc_here/$dc_key.no" ] || unsay supervisor
}

# unsay REASON: the record is ours, but the command will not begin.
unsay() {
  echo "refused $1 $dc_token" >>"$dc_here/$dc_key.run"
  say refused "$dc_key" "$1"
  exit 125
}

# refuse REASON: not even begun to begin. The record becomes the tombstone; if it is another start's, that one counts.
refuse() {
  set -C
  dc_made=
  { dc_made=1; echo "refused $1 $dc_token" >&4; } 4>"$dc_here/$dc_key.run"
  if [ -z "$dc_made" ] && [ -e "$dc_here/$dc_key.run" ]; then say dup "$dc_key"; else say refused "$dc_key" "$1"; fi
  exit 125
}

# become_sudo: only the other user may signal and see his processes, so his job is started, and stopped, inside sudo.
# Values come by the pipe, not by argv; sudo closes all descriptors but 0, 1, 2.
become_sudo() {
  trap - HUP PIPE
  self
  claim
  # sudo adds its own to the umask that it finds
  umask "$dc_umask"
  go sudo -n -H -u "$dc_user" sh -c 'eval "$(cat)"'
}

# conclude CODE: tell the end, or that it did not begin because it had begun before.
conclude() {
  # nothing of ours ends with 0: that is the command's own, and the record need not be read, unless for a limit
  if [ "$1" = 0 ] && [ -z "$dc_user$dc_limit" ]; then
    echo "exit 0" >>"$dc_key.run"
    say exit "$dc_key" 0 $dc_child
    return
  fi
  read_record "$dc_key"
  if [ "$dc_holder" != "$dc_token" ]; then
    [ -e "$dc_key.run" ] || unrecorded "$1"
    say dup "$dc_key"
  elif [ -z "$dc_state" ]; then
    echo "exit $1" >>"$dc_key.run"
    if [ -n "$dc_user" ]; then
      # an exit of sudo says nothing before the command began: see `hear_sudo`
      read_record "$dc_key"
      [ -n "$dc_began" ] || return
    fi
    say exit "$dc_key" "$1" $dc_ran $dc_stopped
  fi
}

# unrecorded CODE: the job's process died, or was never born, before it could say anything; or somebody removed its
# record. Without a claim nothing ends but by a signal or with a shell's own codes, and nothing prints.
unrecorded() {
  case $1 in
    # what it printed may still be in the pipe
    1 | 2 | 12[5-9] | 1[3-9]? | 2??) sleep 1; traces "$dc_key" || refuse fork_refused ;;
  esac
  echo 'lost spool_gone' >>"$dc_key.run"
  say exit "$dc_key" "$1" 0
  exit
}

# ---------------------------------------------------------------- limit

# limit SECONDS GRACE: a child of the supervisor that ends the tree when its time is up, whether or not anybody still
# listens to this launcher. From then on it is not to be dismissed: the leader may end at once and leave a child.
limit() {
  exec 3<&- 7>&- 8>&- 9>&-
  doze "$1"
  trap '' TERM
  while :; do
    read_record "$dc_key"
    [ -z "$dc_state" ] && lives || exit
    # sudo, which we cannot signal, has not let it begin yet: its time is up as soon as it does
    [ -n "$dc_owner" ] && [ -z "$dc_began" ] || break
    sleep 1
  done
  mark "$dc_key" timeout && reach "$dc_key" TERM
  dc_rest=$2 dc_pause=1
  while [ "$dc_rest" -gt 0 ]; do
    [ $dc_pause -le "$dc_rest" ] || dc_pause=$dc_rest
    sleep $dc_pause
    dc_rest=$((dc_rest - dc_pause)) dc_pause=$((2 * dc_pause))
    [ "$(reach "$dc_key" 0)" != 0 ] || exit
  done
  reach "$dc_key" KILL
}

# doze SECONDS: sleep, and go on only if all of that time has passed: not when dismissed, nor if there is no sleep.
doze() {
  dc_sleep= dc_over=
  # not TERM: a child that has not yet become `sleep` may swallow it
  trap 'dc_over=1; [ -z "$dc_sleep" ] || kill -KILL $dc_sleep' TERM
  sleep "$1" &
  dc_sleep=$!
  # dismissed before we knew whom to kill
  [ -z "$dc_over" ] || kill -KILL $dc_sleep
  wait $dc_sleep || exit
}

# dismiss PID: end the limit of a job that has ended, unless something else has that pid by now.
dismiss() {
  self
  read -r dc_part dc_line <"/proc/$1/stat" || return
  set -- "$1" ${dc_line##*) }
  [ "$3" != "$dc_pid" ] || kill "$1"
}

# ---------------------------------------------------------------- output

# collect STREAM KEY TOKEN DEFINITION USER HEAD SEGMENT ...: keep the head and the tail of a stream, count all of it.
# The job writes into a pipe: neither network nor disk nor `echo x >/dev/stderr` in it can disturb it.
# The tail goes to two files in turn, so that one of them always holds a full segment of what came last.
collect() {
  dc_stream=$1 dc_key=$2 dc_token=$3 dc_head=$6 dc_segment=$7
  [ -z "$5" ] || [ "$dc_stream" = e ] || hear_sudo || return
  dc_last=-1 dc_lost=0
  fill "$dc_key.$dc_stream" "$dc_head"
  dc_total=$dc_got dc_kept=$dc_got
  while [ $dc_end = full ]; do
    [ -e "$dc_key.$dc_stream" ] || { dc_end=broken; break; }
    dc_last=$((dc_last + 1))
    dc_file=$dc_key.$dc_stream$((dc_last % 2 + 1))
    command : >"$dc_file" || { dc_end=broken; break; }
    fill "$dc_file" "$dc_segment"
    dc_total=$((dc_total + dc_got))
  done
  if [ $dc_end = broken ]; then
    dc_last=-1
    drain
    dc_total=$((dc_total + dc_lost))
  fi
  # the token tells it from the end of a duplicate start, which had nothing to read
  # without a record there is none to be made: somebody would look for its claim
  [ ! -e "$dc_key.run" ] || echo "eof $dc_stream $dc_total $dc_kept $dc_last $dc_token" >>"$dc_key.run"
  say eof "$dc_key" "$dc_stream" "$dc_total" "$dc_kept" "$dc_last" "$dc_token"
}

# fill FILE LIMIT: append at most LIMIT bytes of stdin; sets dc_got, and dc_end to eof, full or broken.
# `dd` writes at once what it reads, unlike `head`, and counts reads: a round ends early if they are short. Its
# environment tells others the number of the segment.
fill() {
  dc_got=0 dc_end=full
  while [ $((dc_left = $2 - dc_got)) -gt 0 ]; do
    # released while a child of the job still prints: keep no more
    [ $dc_got -eq 0 ] || [ -e "$dc_key.$dc_stream" ] || { dc_end=broken; return; }
    dc_block=65536
    [ $dc_left -ge $dc_block ] || dc_block=$dc_left
    dc_count=$((dc_left / dc_block))
    dc_report=$(LC_ALL=C dc_last=$dc_last "$dc_dd" bs=$dc_block count=$dc_count 2>&1 >>"$1" 9>&-) || dc_end=broken
    tally "$dc_report" || { dc_end=broken; return; }
    dc_got=$((dc_got + dc_bytes))
    # what dd had in its hands is gone, and of which size it was: all counts are lower bounds from here on
    [ $dc_end = full ] || { dc_lost=1; return; }
    [ $dc_reads -eq $dc_count ] || { dc_end=eof; return; }
  done
}

# drain: the disk is full or nobody wants more; the job must not notice.
drain() {
  dc_report=$(LC_ALL=C "$dc_dd" bs=65536 2>&1 >/dev/null 9>&-)
  tally "$dc_report" && dc_total=$((dc_total + dc_bytes))
}

# tally REPORT: what dd said: `A+B records in`, `C+D records out`, `N bytes ...`, perhaps after warnings.
tally() {
  dc_reads=${1%% records in*}
  dc_reads=${dc_reads##*[!0-9+]}
  dc_bytes=${1##*records out}
  set -- $dc_bytes
  dc_bytes=$1
  case ${dc_reads%+*}${dc_reads#*+}$dc_bytes in '' | *[!0-9]*) return 1 ;; esac
  dc_reads=$((${dc_reads%+*} + ${dc_reads#*+}))
}

# hear_sudo: read lines until the shell inside sudo says that the command begins, or why not. Both this reader and the
# supervisor write first and then look what the other wrote, so one of them tells the end.
hear_sudo() {
  dc_said= dc_reason=
  while read -r dc_word dc_a dc_b dc_c; do
    case "$dc_word $dc_a" in
      "@$dc_token began")
        echo "began $dc_b $dc_c" >>"$dc_key.run"
        read_record "$dc_key"
        [ -z "$dc_exit" ] || say exit "$dc_key" "$dc_exit" $dc_ran $dc_stopped
        return 0
        ;;
      "@$dc_token refused") dc_reason=$dc_b dc_said=; break ;;
      *) [ ${#dc_said} -gt 300 ] || dc_said="$dc_said${dc_said:+, }$dc_word $dc_a $dc_b $dc_c" ;;
    esac
  done
  read_record "$dc_key"
  [ "$dc_holder" = "$dc_token" ] && [ -z "$dc_state" ] || return 1
  [ -n "$dc_reason$dc_said" ] || [ "$dc_stream" = m ] || dc_said=$(overhear)
  dc_said=$(printf %s "$dc_said" | tr -cd 'A-Za-z0-9 .,:()_/-' | head -c 300)
  echo "refused ${dc_reason:-run_as_refused} $dc_token" >>"$dc_key.run"
  say refused "$dc_key" "${dc_reason:-run_as_refused} $dc_said"
  return 1
}

# overhear: with separate streams the complaint of sudo went to the other reader, who writes its `eof` a moment later.
overhear() {
  for dc_try in 1 2 3 4 5; do
    ! grep -q '^eof e ' "$dc_key.run" || break
    sleep 1
  done
  head -c 300 "$dc_key.e" | tr '\n' ' '
}

# ---------------------------------------------------------------- state

# read_record KEY: sets dc_holder (the token of its claim or refusal), dc_ran (the command's pid, 0 if it is not there)
# and the other facts of a record. A line without its end was cut by a full disk and does not count.
read_record() {
  dc_holder= dc_claimed= dc_pid= dc_then= dc_parent= dc_owner= dc_exit= dc_began= dc_state= dc_fact= dc_eofs=
  dc_stopped=
  while read -r dc_word dc_a dc_b dc_c dc_d dc_e dc_f dc_part; do
    case "$dc_word $dc_part" in
      claim*\;) dc_holder=$dc_a dc_claimed=$dc_b dc_pid=$dc_c dc_then=$dc_d dc_parent=$dc_e dc_owner=${dc_f#-} ;;
      'began ') dc_began="$dc_a $dc_b" ;;
      'limit ') [ -n "$dc_exit$dc_stopped" ] || dc_stopped=$dc_a ;;
      'exit ') dc_exit=$dc_a ;;
      'eof ') [ "$dc_e" != "$dc_holder" ] || dc_eofs="$dc_eofs $dc_a $dc_b $dc_c $dc_d $dc_e" ;;
      'refused ' | 'lost ' | 'fenced ')
        [ -n "$dc_state" ] || dc_state=$dc_word dc_fact=$dc_a
        dc_holder=${dc_holder:-$dc_b}
        ;;
    esac
  done <"$1.run"
  dc_ran=${dc_began:-${dc_pid:-0}}
  dc_ran=${dc_ran% *}
  [ -z "$dc_state" ] && [ -n "$dc_exit" ] || return 0
  [ -n "$dc_owner" ] && [ -z "$dc_began" ] || dc_state=done dc_fact=$dc_exit
}

# lives: whether the process that read_record found does.
lives() { [ -n "$dc_pid" ] && numbers_of "$dc_pid" && [ "$dc_birth" = "$dc_then" ] && [ "$dc_life" != Z ]; }

# supervised: whether its supervisor lives: whoever got that pid later is younger than the job.
supervised() { numbers_of "$dc_parent" && [ "$dc_birth" -le "$dc_then" ] && [ "$dc_life" != Z ]; }

# look KEY: sets dc_state to none, starting, running, done, refused, fenced or lost, and dc_fact to its detail.
look() {
  dc_state=none dc_fact= dc_claimed= dc_pid= dc_owner= dc_eofs= dc_stopped=
  [ -e "$1.run" ] || return
  read_record "$1"
  [ -z "$dc_state" ] || return
  # created and not yet written: its maker is at work, or was stopped there for ever
  [ -n "$dc_claimed" ] || { dc_state=starting; return; }
  [ "$dc_claimed" = "$dc_boot" ] || { dc_state=lost dc_fact=rebooted; return; }
  # the supervisor alone: it ended a moment ago, which is not yet written down
  if lives || supervised; then dc_state=running dc_fact=$dc_pid; else look_again "$1"; fi
}

# look_again KEY: job and supervisor are gone, but the exit may have been written since the record was read.
look_again() {
  read_record "$1"
  [ -z "$dc_state" ] || return
  # sudo ended and its reader has not told yet whether there was a beginning
  [ -z "$dc_exit" ] || { dc_state=starting; return; }
  dc_state=lost dc_fact=supervisor
  echo "lost supervisor" >>"$1.run"
}

# settle KEY: a record without a claim: see to it that there never is one, or find it. See `claim`.
settle() {
  command : >"$1.no" || return
  look "$1"
  [ "$dc_state" = starting ] && [ -z "$dc_claimed" ] || return
  dc_state=refused dc_fact=supervisor
  # after a line that may have been cut
  printf '\nrefused supervisor\n' >>"$1.run"
}

# q KEY SPOOL BOOT: say the state. "No record" is answered only after a tombstone made it final, and is a proof only
# if the spool and the boot are still those of the intent.
q() {
  dc_part=
  read -r dc_part <id
  [ "$dc_part" = "$dc_spool" ] || { say state "$1" unknown spool_gone; return; }
  look "$1"
  [ "$dc_state" != none ] || fence "$@"
  if [ "$dc_state" = fenced ]; then
    # perhaps by a stop, which knows nothing of the intent: it proves no more than this
    [ "$3" = "$dc_boot" ] || dc_state=absent dc_fact=rebooted
    [ "$2" = "$dc_spool" ] || dc_state=absent dc_fact=spool_gone
  fi
  say_state "$1"
}

# l KEY: the same for a start that is on its way: no record yet means "starting", and no tombstone stops it.
l() {
  look "$1"
  [ "$dc_state" != none ] || dc_state=starting
  say_state "$1"
}

say_state() {
  set -- "$1" $dc_eofs
  while [ $# -ge 6 ]; do
    say eof "$1" "$2" "$3" "$4" "$5" "$6"
    dc_key=$1
    shift 6
    set -- "$dc_key" "$@"
  done
  case $dc_state in done) dc_fact="$dc_fact $dc_ran" ;; lost) ;; *) dc_stopped= ;; esac
  say state "$1" "$dc_state" $dc_fact $dc_stopped
}

# u KEY: an attempt that has been starting for too long.
u() {
  look "$1"
  [ "$dc_state" != starting ] || settle "$1"
  # sudo's reader was killed: nobody will ever know whether there was a beginning
  [ "$dc_state" != starting ] || [ -z "$dc_exit" ] || dc_state=lost dc_fact=supervisor
  say_state "$1"
}

# fence KEY SPOOL BOOT: the tombstone holds the verdict: whoever asks once more must hear the same.
fence() {
  dc_made= dc_eofs= dc_fact=
  [ "$3" = "$dc_boot" ] || dc_fact=rebooted
  [ "$2" = "$dc_spool" ] || dc_fact=spool_gone
  [ -n "$dc_fact" ] || ! traces "$1" || dc_fact=spool_gone
  set -C
  { dc_made=1; echo "${dc_fact:+lost }${dc_fact:-fenced}" >&4; } 4>"$1.run"
  set +C
  if [ -n "$dc_made" ]; then
    dc_state=absent
  elif [ -e "$1.run" ]; then
    look "$1"
  else
    dc_state=unknown dc_fact=$(why_not)
  fi
}

# traces KEY: whether something without a record has begun nevertheless: it printed, or it runs. The record was removed,
# or never reached the disk. Who carries which key is looked up once: whoever begins later has a record to be found.
traces() {
  [ ! -s "$1.m" ] && [ ! -s "$1.o" ] && [ ! -s "$1.e" ] || return 0
  [ -n "$dc_marks" ] || dc_marks=" $(cat /proc/[0-9]*/environ | tr '\0' '\n' | grep '^DISTCRON_ATTEMPT_ID=' | tr '\n' ' ')"
  case $dc_marks in *" DISTCRON_ATTEMPT_ID=$1 "*) ;; *) return 1 ;; esac
}

# ---------------------------------------------------------------- stop

# k KEY SIGNAL [REASON]: signal the attempt's whole tree and say how many processes are left.
k() { stop "$@" </dev/null >/dev/null & }

stop() {
  look "$1"
  # a start that is still on its way must not come after the stop
  [ "$dc_state" != none ] || fence "$1" "$dc_spool" "$dc_boot"
  [ "$dc_state" != starting ] || settle "$1"
  # sudo, which we cannot signal, has not let it begin yet
  case $dc_state/$dc_owner/$dc_began in running/?*/) say left "$1" none starting; return ;; esac
  case $dc_state$dc_fact in
    running*) [ "$2" = 0 ] || mark "$1" "$3" || [ "$2" = KILL ] || set -- "$1" 0 ;;
    # its record was wiped away, perhaps under a running job: the key in the environment is all there is to go by
    absent* | fenced | refused* | lostspool_gone) dc_pid= ;;
    # of processes before this boot nothing is left, and without a claim nothing is known
    *) [ "$dc_claimed" = "$dc_boot" ] || { say left "$1" none "$dc_state"; return; } ;;
  esac
  dc_left=$(reach "$1" "$2")
  say left "$1" "${dc_left:-unknown}"
}

# mark KEY REASON: write down why before the first signal. It fails if somebody has: TERM is sent once.
mark() {
  [ -z "$dc_stopped" ] || return
  echo "limit $2" >>"$1.run"
  dc_stopped=$2
}

# reach KEY SIGNAL: `tree` for what was just found by read_record, as the user whose processes they are.
reach() {
  [ -z "$dc_owner" ] || { dc_pid=${dc_began% *} dc_then=${dc_began#* }; }
  # a pid is not given out again while its session has members; if it was, there are none and it is not ours
  [ -n "$dc_pid" ] && numbers_of "$dc_pid" && [ "$dc_birth" != "$dc_then" ] && dc_pid=
  if [ -n "$dc_owner" ]; then
    dc_input="tree $2 $1 '$dc_pid'"
    feed "$dc_owner" | sudo -n -H -u "$dc_owner" sh -c 'eval "$(cat)"'
  else
    tree "$2" "$1" "$dc_pid"
  fi
}

# ---------------------------------------------------------------- fetch and release

# f SEQUENCE FILE SKIP MAX: a piece of a file. Bounded: tail alone would follow a growing file for ever. One request at
# a time is on its way, so that blocks do not mix; the subshell keeps requests from waiting for the network.
f() {
  {
    if [ "$3" = 0 ]; then head -c "$4" "$2"; else tail -c "+$(($3 + 1))" "$2" | head -c "$4"; fi
    echo "@$dc_nonce end $1"
  } </dev/null 9>&- &
}

# c SEQUENCE FILE...: whole files whose sizes the other side knows, in one `cat`.
c() {
  dc_part=$1
  shift
  { cat "$@"; echo "@$dc_nonce end $dc_part"; } </dev/null 9>&- &
}

# z "OFFSET ..." FILE...: say the size of each file that has grown beyond its offset.
z() {
  dc_known="$1 "
  shift
  { stat -c '%n %s' "$@" | grown "$@"; } </dev/null >/dev/null &
}

grown() {
  while read -r dc_file dc_part; do
    while [ $# -gt 0 ] && [ "$1" != "$dc_file" ]; do
      shift
      dc_known=${dc_known#* }
    done
    [ "$dc_part" -le "${dc_known%% *}" ] || say size "$dc_file" "$dc_part"
  done
}

# w FILE...: their commands have ended and their output has not: say of each head whether its reader is still, and how
# far it came, or busy.
# A reader that sleeps has stored all there was and waits for somebody who holds the pipe; one that the machine has no
# time for does not sleep.
w() { { readers | waited_for "$@"; } </dev/null >/dev/null & }

# readers: of each `dd` that writes into this spool the head, the file, the pid and the state.
readers() {
  QUOTING_STYLE=literal ls -l /proc/[0-9]*/fd/1 | while read -r dc_line; do
    case $dc_line in *" -> $dc_here/"*) ;; *) continue ;; esac
    dc_file=${dc_line##*/} dc_member=${dc_line#* /proc/}
    # one that was released meanwhile is `... (deleted)`
    dc_file=${dc_file%% *} dc_member=${dc_member%%/*}
    numbers_of "$dc_member" || continue
    case $dc_life in S) dc_life=still ;; Z | X) continue ;; *) dc_life=busy ;; esac
    echo "${dc_file%[12]} $dc_file $dc_member $dc_life"
  done
}

waited_for() {
  dc_known=" $* "
  while read -r dc_part dc_file dc_member dc_life; do
    case $dc_known in *" $dc_part "*) ;; *) continue ;; esac
    [ $dc_life = busy ] || how_far || continue
    say reader "$dc_part" "$dc_life"
  done
}

# how_far: which segment that reader fills, and up to where; it fails if the reader has just gone on.
how_far() {
  dc_last=$(tr '\0' '\n' <"/proc/$dc_member/environ" | grep '^dc_last=') || return
  dc_life="$dc_life ${dc_last#dc_last=} $(stat -c %s "$dc_file")"
  case $dc_life in *' ' | *[!a-z0-9\ -]*) return 1 ;; esac
}

# d FILE...: delete what has been fetched; records stay.
d() { rm -f "$@" </dev/null >/dev/null & }

# h NUMBER: heartbeat. The first one is the time to look around and to sweep: nobody waits for a first run any more.
h() {
  say beat "$1"
  [ -n "$dc_unswept" ] || return
  dc_unswept=
  { say disk "$(stat -f -c %T .)"; sweep 9>&-; } </dev/null >/dev/null &
}
