"""The pocket world and the pocket model: the embedded default, and an end-to-end test with exact truth.

    world.py        fictional plants, their truth and their noisy fame; the closed-book exam and its exact grading
    model/          the shipped weights, an ordinary transformers model
    quickstart.py   the configuration of `pop quickstart`

Nothing of this is used inside the loop but the weights and the documents: the pocket model plays its roles through the same
stages, prompts, parsers and scoring as any other model. The next attribute or phrase of the world goes into `world.py`; the
weights must then be made anew by `tools/pocket/` of the repository, which also checks them.
"""
