"""The whole configuration of a run, as one tree. Defaults are the paper's values; unions are told apart by `type`.

    models.py     which model plays, and where it runs
    synthesis.py  documents to scored candidates to pairs
    training.py   pairs to a better model
    run.py        RunConfig, the root, with stop rules and budget
    values.py     what names, places and seeds may be
    validation.py the base of every node, and what is wrong with a file, in words
    files.py      YAML in and out

A field here is a promise to users: one name, one meaning, a one-line description. Nothing in this room imports torch.
Other rooms import from here, not from the files.
"""

from pop_selfplay.config.files import dump_config, load_config, parse_config, read_yaml
from pop_selfplay.config.models import (
    ADDED,
    AS_IT_DOES,
    OPERATIONAL,
    CorpusConfig,
    DocumentFilter,
    EndpointModel,
    ExamMeasure,
    FilesCorpus,
    HuggingFaceCorpus,
    LocalModel,
    MeasureConfig,
    MistakeName,
    ModelConfig,
    NoMeasure,
    PocketCorpus,
    PocketModel,
    Prices,
    RoleThinking,
    SelfJudgedMeasure,
    SimulatedModel,
    Thinking,
    VllmModel,
    all_thinking_of,
    capacity_of,
    prices_of,
    thinking_of,
)
from pop_selfplay.config.run import Budget, RayRunner, RunConfig, StopRules, changed_settings, register_training
from pop_selfplay.config.synthesis import (
    EarlyStop,
    Frontier,
    JudgeSampling,
    Logprob,
    Pairing,
    ProposerPairs,
    Reuse,
    RubricWriterSampling,
    Sampling,
    SolverSampling,
    Synthesis,
)
from pop_selfplay.config.training import (
    DPOTraining,
    Fields,
    GRPOTraining,
    LoRA,
    NoTraining,
    OfflineTraining,
    SFTTraining,
    Training,
)
from pop_selfplay.config.validation import Config, complaints

__all__ = [
    "ADDED",
    "AS_IT_DOES",
    "OPERATIONAL",
    "Budget",
    "Config",
    "CorpusConfig",
    "DPOTraining",
    "DocumentFilter",
    "EarlyStop",
    "EndpointModel",
    "ExamMeasure",
    "Fields",
    "FilesCorpus",
    "Frontier",
    "GRPOTraining",
    "HuggingFaceCorpus",
    "JudgeSampling",
    "LoRA",
    "LocalModel",
    "Logprob",
    "MeasureConfig",
    "MistakeName",
    "ModelConfig",
    "NoMeasure",
    "NoTraining",
    "OfflineTraining",
    "Pairing",
    "PocketCorpus",
    "PocketModel",
    "Prices",
    "ProposerPairs",
    "RayRunner",
    "Reuse",
    "RoleThinking",
    "RubricWriterSampling",
    "RunConfig",
    "SFTTraining",
    "Sampling",
    "SelfJudgedMeasure",
    "SimulatedModel",
    "SolverSampling",
    "StopRules",
    "Synthesis",
    "Thinking",
    "Training",
    "VllmModel",
    "all_thinking_of",
    "capacity_of",
    "changed_settings",
    "complaints",
    "dump_config",
    "load_config",
    "parse_config",
    "prices_of",
    "read_yaml",
    "register_training",
    "thinking_of",
]
