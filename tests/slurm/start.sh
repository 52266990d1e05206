#!/usr/bin/env bash
# Runs a command beside a SLURM of its own: munged, slurmctld and slurmd on loopback, one node with two faked GPUs, all
# files in one temporary folder. Stops what it has started, and nothing else. Usage: start.sh [--install] COMMAND...
# With --install a missing SLURM is installed, as root and where apt-get exists; where it cannot be started, SLURM_CONF
# stays unset, EM_NO_SLURM says why, and the tests skip with that reason.
set -euo pipefail

install=
[[ $1 == --install ]] && { install=yes; shift; }
folder=$(mktemp -d "${TMPDIR:-/tmp}/em-slurm-XXXXXX")
started=()

stop() {
  if [[ ${SLURM_CONF:-} == "$folder/slurm.conf" ]]; then # never the jobs of a SLURM that was there before
    squeue --noheader --format=%A 2>/dev/null | xargs -r scancel 2>/dev/null || true
  fi
  for ((i = ${#started[@]} - 1; i >= 0; i--)); do kill "${started[i]}" 2>/dev/null || true; done
  for pid in "${started[@]}"; do
    for _ in {1..50}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  done
  rm -rf "$folder"
}
trap stop EXIT

without() {
  echo "no SLURM: $1" >&2
  unset SLURM_CONF
  EM_NO_SLURM="$1" "${command[@]}"
  exit
}

command=("$@")
[[ $(id -u) == 0 ]] || without "its daemons need root"
if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
  [[ $install ]] || without "slurmctld, slurmd or munged is missing; \`make test-slurm\` installs them"
  command -v apt-get >/dev/null || without "slurmctld, slurmd or munged is missing, and so is apt-get"
  # RUNLEVEL=1: the packages' own daemons are not started, they would outlive this script
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends slurm-wlm munge) >"$folder/apt.log" 2>&1 ||
    without "apt-get cannot install slurm-wlm and munge: $(tail -1 "$folder/apt.log")"
fi

host=$(hostname -s)
cpus=$(nproc --all)
memory=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mkdir -p "$folder"/{state,spool,munge}
chmod 755 "$folder"; chmod 711 "$folder/munge"
touch "$folder"/{gpu0,gpu1}
cat >"$folder/gres.conf" <<CONF
Name=gpu File=$folder/gpu0
Name=gpu File=$folder/gpu1
CONF
cat >"$folder/cgroup.conf" <<CONF
CgroupAutomount=no
CONF
cat >"$folder/slurm.conf" <<CONF
ClusterName=em
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=300
InactiveLimit=0
KillWait=5
SchedulerParameters=sched_interval=5,sched_min_interval=0
JobRequeue=1
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none
chmod 400 "$folder/munge/key"
munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
  --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" >"$folder/munged.out" 2>&1 &
started+=($!)
export SLURM_CONF="$folder/slurm.conf"
export EM_GPU_DEVICES= # the node's GPUs are faked: jobs get them and must not look for them
for _ in {1..50}; do [[ -S $folder/munge/socket ]] && break; sleep 0.1; done
slurmctld -D >"$folder/slurmctld.out" 2>&1 & started+=($!)
slurmd -D -N "$host" >"$folder/slurmd.out" 2>&1 & started+=($!)
for _ in {1..60}; do
  [[ $(sinfo --noheader --format=%T 2>/dev/null) == idle ]] && break
  sleep 0.5
done
[[ $(sinfo --noheader --format=%T 2>/dev/null) == idle ]] ||
  without "its daemons do not come up: $(tail -n 1 -q "$folder"/{slurmctld,slurmd}.{out,log} 2>/dev/null | tr '\n' ' ')"

# The plugin drops SLURM_CONF from the environment of a job's step; where it is the only way to the configuration, srun
# is told again.
mkdir "$folder/bin"
printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" >"$folder/bin/srun"
chmod +x "$folder/bin/srun"
export PATH="$folder/bin:$PATH"

"${command[@]}"
