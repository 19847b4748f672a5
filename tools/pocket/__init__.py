"""The making of the pocket model, which no user of the package needs: `python -m tools.pocket.pretrain`, in the repository.

    demonstrations.py  what it learns from: noisy articles, and each role played well
    tokenizer.py       a byte-level tokenizer in which every value and every recurring phrase is one token
    batches.py         demonstrations → token sequences with a weight per target → padded batches
    muon.py            the optimiser for matrices
    pretrain.py        makes the weights from nothing and writes them to src/pop_selfplay/pocket/model
    generate.py        plain batched generation, for the check
    check.py           does it play every role well enough? `python -m tools.pocket.check`

The next kind of demonstration is a function in demonstrations.py with an entry in `ROLES` and a share in pretrain.py's `MIX`.
"""
