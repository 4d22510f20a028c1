#!/usr/bin/env bash
# A RAFT campaign as a shell loop: train a cycle, let raftmon write the next cycle's learning rate, go on.
#
# usage: hf_loop.sh CONFIG CAMPAIGN SETTINGS JOURNAL
#
# Environment: RAFTMON   the command, default `raftmon`
#              TRAINER   one cycle, called with CONFIG CAMPAIGN CYCLE; default `python -m tests.e2e.hf_cycle`
#              CYCLES    default 3
#
# What raftmon says of each cycle goes to standard output, one JSON document per cycle; the trainer's own words go to
# CAMPAIGN/cycle_N.log. Beside it lies the config as the cycle read it. A cycle that fails, and a refusal of raftmon
# (exit code 4), end the loop.
set -euo pipefail
config=$1 campaign=$2 settings=$3 journal=$4
read -ra raftmon <<<"${RAFTMON:-raftmon}"
read -ra trainer <<<"${TRAINER:-python -m tests.e2e.hf_cycle}"

mkdir -p "$campaign"
for cycle in $(seq "${CYCLES:-3}"); do
    cp "$config" "$campaign/cycle_$cycle.yaml"
    "${trainer[@]}" "$config" "$campaign" "$cycle" >"$campaign/cycle_$cycle.log" 2>&1 ||
        { tail -n 20 "$campaign/cycle_$cycle.log" >&2; exit 1; }
    "${raftmon[@]}" pre-cycle "$config" --logdir "$campaign" --settings "$settings" --journal "$journal" \
        --apply --format json
done
