"""What every process needs, whatever it computes. Imports nothing else of the package; moves no result.

| module | holds |
|---|---|
| `errors` | the one kind of error that a user can cause |
| `command` | what the command lines share |
| `spelling` | the nearest right spelling of a wrong name |
| `leftovers` | temporary names that tell whose they are |
| `locks`, `run_lock` | one at a time: parts of a store, a working directory |
| `gpu_lease`, `gpu_devices` | which GPUs a job may use, and which there are |
| `memory` | how much there is, under the limits of containers and jobs |
| `run_times` | how long a run took, and what of it was the workflow itself |
| `phases` | where the seconds of one process went |
"""
