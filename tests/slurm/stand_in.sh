#!/bin/bash
# Stands for Python on the nodes where a test is about Slurm alone: Ray that only listens, and a command that writes a line.
if [[ "$*" == *"ray.scripts.scripts start"* ]]; then
  exec sleep 1000
fi
for word in "$@"; do
  case $word in run_dir=*) run_dir=${word#*=} ;; until=*) until=${word#*=} ;; ray.nodes=*) nodes=${word#*=} ;; esac
done
echo "$until on $nodes" >>"$run_dir/order"
