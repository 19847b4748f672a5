"""The pocket world and the pocket model: the embedded default, and an end-to-end test with exact truth.

    wording.py         how facts, questions and answers are worded
    world.py           fictional plants, their truth and their noisy fame; the closed-book exam and its exact grading
    demonstrations.py  what the pocket model learns from: noisy articles, and each role played well
    tokenizer.py       a byte-level tokenizer in which every value and every recurring phrase is one token
    batches.py         demonstrations → token sequences with a weight per target → padded batches
    optimiser.py       Muon for matrices
    pretrain.py        makes the shipped weights from nothing: python -m pop_selfplay.pocket.pretrain
    model/             the shipped weights, an ordinary transformers model
    check.py           the quality gates of the model, on fresh cases
    quickstart.py      the configuration of `pop quickstart`

Nothing of this is used inside the loop but the weights and the documents: the pocket model plays its roles through the same
stages, prompts, parsers and scoring as any other model. The next attribute or phrase of the world goes into `wording.py`; the
weights must then be made anew.
"""
