"""Whether the service keeps what it promises while everything around it fails.

`python -m tests.faults` (`make faults`) hurts the real processes under load and then checks every
promise from the outside:

    __main__                 what is chosen, and what is shown of it   (report, showing)
    run                      one round: load, faults, healing, every check
    system                   the processes and servers, a line between any two   (parts, lines)
    load                     the clients and those who read along   (clients, sending, readers)
    history, evidence        what was asked and answered; what can be seen when all is healed
    checks                   what has to hold of both

A fault is a `Fault` of `faults`, and `catalogue` knows all of them: of processes, of lines (wires),
of what the servers keep (stores, restored, small_disks), of what stands around them (surroundings,
pooler, clocks), of customers that the read model cannot take (poison), and of several machines
(cluster_faults, on the `cluster` of cluster_servers behind a balancer). `operators` are the
commands with which a person mends what does not mend itself.

Two more are called by name: `overload` opens ten times the connections that can be served, `fuzz`
sends what is in `hostile`. The test_* files are the part that runs in `make test`.
"""
