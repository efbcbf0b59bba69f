"""How fast the service is, and how much faster than what one would write instead.

`python -m tests.benchmarks` (`make bench`) takes all that is promised in one run, on one machine:

    __main__                     the measures in their order   (machine, progress)
    writing, reading, memory     what is done for each, and what it has to reach
    bench                        servers, databases full of customers, and what was found
    contenders                   starts ours, the peer or the bare framework   (deployment)
    load, wrk with load.lua      ask; the customers are those of data
    figures                      the report   (showing: tables, plots: pictures)

Beside ours stand `peer`, the conventional service, with `peer_data`, its database; `bare`, the web
framework alone; and `limits`, what Postgres and JetStream do by themselves. `compare`, and a test
with it, hold that the peer answers what we answer. What is in the peer's favour, and what is not,
its docstring says.

The others measure one thing each, and are called by name: history, publishing, rebuild, relay,
replay, subscriber, verify.
"""
