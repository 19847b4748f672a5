"""How good the rubrics of a round were: their power to separate, and their word on verified and on reference answers."""

from dataclasses import dataclass, field
from typing import Any, Final

from pop_selfplay.core.quality import below_median, criterion_power, verify_agreement
from pop_selfplay.core.stats import SHARES, clustered_mean
from pop_selfplay.records import Episode

ALIKE: Final = 0.05
"""Standard deviation of ratings below which a criterion tells nobody apart: one in a hundred rated a step higher gives 0.1."""


@dataclass
class Quality:
    """Figures of one round, gathered episode by episode. Intervals are 95 % ones, by whole documents."""

    stds: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)  # the document of each criterion in stds and differences
    agreements: list[float] = field(default_factory=list)
    agreeing: list[str] = field(default_factory=list)
    references: int = 0
    below_median: int = 0

    def add(self, episode: Episode) -> None:
        """Take in one episode; one that failed adds nothing."""
        if episode.rubric is not None:
            for power in criterion_power(episode.rubric, episode.evaluations):
                self.stds.append(power.std)
                self.differences.append(power.difference)
                self.documents.append(episode.document_id)
        agreement = verify_agreement(episode.evaluations)
        if agreement is not None:
            self.agreements.append(agreement)
            self.agreeing.append(episode.document_id)
        if episode.reference_evaluation is not None:
            self.references += 1
            self.below_median += below_median(episode.reference_evaluation, episode.evaluations)

    def as_json(self) -> dict[str, Any]:
        """Return the figures for result.json; a figure over nothing has n 0 and no mean."""
        alike = [float(std < ALIKE) for std in self.stds]
        return {
            "criteria": {
                "std": clustered_mean(self.stds, self.documents, SHARES).as_json(),
                "difference": clustered_mean(self.differences, self.documents, (0, 2)).as_json(),
                "rate_all_alike": clustered_mean(alike, self.documents, SHARES).as_json(),
            },
            "verify_agreement": clustered_mean(self.agreements, self.agreeing, SHARES).as_json(),
            "reference_answers": {"scored": self.references, "below_median": self.below_median},
        }
