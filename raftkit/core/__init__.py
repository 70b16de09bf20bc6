"""The consensus core: the dissertation, executable, with nothing of the world in it.

::

                       ┌────────────────────── Raft.step ───────────────────────┐
     Tick              │ 1 time passes                                          │  send_now
     Receive ────────▶ │ 2 RULES settle        (is this leader still one?)      │  persist
     Propose  Read     │ 3 each input: the term rule, then one handler: a fact  │ ─▶ send_after_persist
     Persisted Applied │ 4 RULES settle        (what follows from the facts?)   │  fetch  install  apply
     …                 │ 5 effects, in the order in which they must be done     │  answer  events
                       └────────────────────────────────────────────────────────┘

You own four duties. **Persist**: do each `Effects.persist`, in order, and report `Persisted` when it is on
disk. **Send**: `send_now` at once, `send_after_persist` when this and all earlier writes are on disk.
**Apply**: hand `apply` to your state machine in order and report `Applied`. **Tick**: say how much time
passed, first in a batch. A driver in a few lines, which keeps its word only because memory never fails:

>>> import random
>>> from raftkit.config import Config
>>> from raftkit.membership import Configuration, Member
>>> from raftkit.messages import PersistentState, Persisted, Propose, Tick
>>> from raftkit.model import Identity, Kind, Run
>>> group = Configuration(members=(Member(id="a", incarnation=1, address=""),))
>>> entry = Run(first=1, term=1, time_ns=0, elapsed_ns=0, kinds=(Kind.CONFIGURATION,),
...             payloads=(group.encode(),))
>>> raft = Raft(Config(identity=Identity(id="a", incarnation=1)),
...             PersistentState(term=1, runs=[entry]), random.Random(7))
>>> def drive(*inputs):
...     effects = raft.step(inputs)
...     for run in effects.apply:
...         print(*(it.payload for it in run if it.kind is Kind.COMMAND))
...     if effects.persist:
...         drive(Persisted(sequence=effects.persist.sequence))
>>> drive(Tick(count=60, wall_ns=0, monotonic_ns=0))
<BLANKLINE>
<BLANKLINE>
>>> raft.role
'leader'
>>> drive(Propose(ticket=1, payloads=(b"hello", b"world")))
b'hello' b'world'

Where to read: `raft.py` (the step, the tables), `state.py` (what a server knows), then the chapters, none of
which calls another: `election.py`, `contact.py`, `replication.py`, `reads.py`, `snapshots.py`. Beside them
`log.py`, `durability.py`, `progress.py`, `quorum.py`, `leases.py`, `stamps.py`, `outbox.py`; `invariants.py`
last.
"""

from raftkit.core.raft import PeerStatus, Raft

__all__ = ["PeerStatus", "Raft"]
