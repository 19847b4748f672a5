"""Where documents come from, and which of them are used.

What is measured before and after.
"""

from typing import Annotated, Literal

from pydantic import Field

from pop_selfplay.config.validation import Config, Name, Place


class FilesCorpus(Config):
    """Text, Markdown, JSONL or Parquet files, also compressed, on this machine or behind URLs."""

    type: Literal["files"] = "files"
    paths: list[Place] = Field(min_length=1, description="files, folders (searched recursively), globs, URLs")
    text_field: Name = Field("text", description="field or column with the text (JSONL, Parquet)")
    title_field: Name | None = Field(None, description="field or column with a title")
    id_field: Name | None = Field(None, description="field or column with a unique id; default: file and line")


class HuggingFaceCorpus(Config):
    """A Hugging Face dataset, by hub name or local path, streamed."""

    type: Literal["hugging_face"] = "hugging_face"
    path: Place = Field(description="hub name (openai/gsm8k) or a local dataset directory")
    name: Name | None = Field(None, description="dataset config")
    split: Name = Field("train", description="split of the dataset")
    revision: Name | None = Field(None, description="branch, tag or commit on the hub; null takes the default branch")
    text_field: Name = Field("text", description="column with the text")
    title_field: Name | None = Field(None, description="column with a title")
    id_field: Name | None = Field(None, description="column with a unique id; default: row number")


class PocketCorpus(Config):
    """The embedded encyclopedia of fictional plants."""

    type: Literal["pocket"] = "pocket"
    editions: int = Field(3, ge=1, le=10_000, description="differently worded true articles per plant")


CorpusConfig = Annotated[FilesCorpus | HuggingFaceCorpus | PocketCorpus, Field(discriminator="type")]


class DocumentFilter(Config):
    """Which documents are used, and how much of them (method, "Tasks and corpora")."""

    min_words: int = Field(50, ge=0, le=1_000_000, description="shorter documents are dropped")
    max_words: int = Field(1024, ge=1, le=10_000_000, description="longer documents are cut to their first words")
    near_duplicates: float | None = Field(
        0.8, gt=0, le=1, description="of two documents at least this similar only one is used; null keeps both"
    )
    benchmarks: list[Place] = Field(
        [], description="benchmark files, folders, globs or URLs; a document that shares 13 words in a row is dropped"
    )


class ExamMeasure(Config):
    """Closed-book questions with known answers. Only the pocket world has them."""

    type: Literal["exam"] = "exam"
    questions_per_plant: int = Field(4, ge=1, le=1000, description="questions about each plant")
    samples: int = Field(2, ge=1, le=1000, description="sampled answers per question, besides the greedy one")


class SelfJudgedMeasure(Config):
    """Held-out documents: the starting model writes problems and rubrics and judges both models' answers."""

    type: Literal["self_judged"] = "self_judged"
    documents: int = Field(64, ge=1, le=1_000_000, description="documents held out, one problem each")
    samples: int = Field(4, ge=1, le=1000, description="answers per problem and model")


class NoMeasure(Config):
    """Nothing is measured."""

    type: Literal["none"] = "none"


MeasureConfig = Annotated[ExamMeasure | SelfJudgedMeasure | NoMeasure, Field(discriminator="type")]
