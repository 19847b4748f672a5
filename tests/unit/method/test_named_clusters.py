"""Clusters of problems are named by the words that their problems have more often than others."""

import random

from pop_selfplay.method.problems import named_clusters

TOPICS = {
    "harbour": "ship anchor harbour mast crew tide sail captain".split(),
    "kitchen": "oven bread flour kitchen dough knife salt baker".split(),
    "garden": "seed garden soil rain flower spade root hedge".split(),
}


def problems(each: int) -> list[str]:
    rng = random.Random(0)
    common = "what is the best way to".split()
    return [" ".join(common + rng.choices(words, k=8)) for _ in range(each) for words in TOPICS.values()]


def test_each_topic_has_a_cluster_whose_name_is_of_its_words_alone() -> None:
    found = named_clusters(problems(25))
    assert len(found) == 3
    topics = [{topic for topic, words in TOPICS.items() if set(name.split()) <= set(words)} for name in found.values()]
    assert sorted(map(sorted, topics)) == [["garden"], ["harbour"], ["kitchen"]]
    for place, name in found.items():
        assert set(name.split()) & set(problems(25)[place].split())


def test_few_problems_have_no_clusters_and_alike_ones_no_trouble() -> None:
    assert named_clusters(problems(10)) == named_clusters([]) == {}
    assert len(named_clusters(["the very same words"] * 60)) >= 1
    assert len(named_clusters([""] * 60)) <= 2
