"""Clusters of problems are named by the words that their problems have more often than others."""

import random

from pop_selfplay.method.problems import name_places, named_clusters

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
    asked = problems(25)
    found = named_clusters(asked)
    assert sorted(place for places in found.values() for place in places) == list(range(75))
    for name, places in found.items():
        (topic,) = (topic for topic, words in TOPICS.items() if set(name.split()) <= set(words))
        assert all(set(asked[place].split()) & set(TOPICS[topic]) for place in places) and len(places) == 25


def test_few_problems_have_no_clusters_and_alike_ones_no_trouble() -> None:
    assert named_clusters(problems(10)) == named_clusters([]) == {}
    assert len(named_clusters(["the very same words"] * 60)) == 1
    assert named_clusters([""] * 60) == {}


def test_names_stand_in_the_middle_of_their_clusters_and_apart_from_each_other() -> None:
    xs, ys = [0.0, 0.2, 0.0, 0.2, 4.0, 0.0], [0.0, 0.0, 0.1, 0.1, 0.0, 2.8]
    places = name_places({"a": [0, 1], "b": [2, 3], "c": [4]}, xs, ys)
    assert places["a"] == (0.1, 0.0) and places["c"] == (4.0, 0.0)
    assert places["b"][0] == 0.1 and places["b"][1] >= 0.2
    assert name_places({"a": [0], "b": [1]}, [1.0, 1.0], [1.0, 1.0]) == {"a": (1.0, 1.0), "b": (1.0, 1.0)}
