"""Marks pass unseen on a real processor, and lie where the host looks for them."""

from edgekit.run import counting


class Engine:
    def __init__(self, seen):
        self.seen = seen

    def run(self, ready):
        self.seen.append(ready)


def test_a_mark_does_nothing_to_a_process():
    counting.mark(0)


def test_each_query_lies_between_two_marks_with_an_empty_pair_before_it():
    seen = []

    ran = counting.count_queries(Engine(seen), "query", counting.Counting(warmup_queries=1, warmup_s=60.0, queries=2), passing=seen.append)

    assert seen == [0, 1, "query", 2, 3, 4, "query", 5, 6, 7, "query", 8]
    assert ran == {"warmup": 1, "queries": 2}


def test_a_slow_network_is_warm_after_four_queries():
    seen = []

    ran = counting.count_queries(Engine(seen), "query", counting.Counting(warmup_queries=24, warmup_s=0.0, queries=1), passing=seen.append)

    assert seen.count("query") == 5
    assert ran == {"warmup": 4, "queries": 1}


def test_the_agent_counts_on_request_and_measures_nothing_then(ask, job):
    ran, answer = ask({**job, "latency": None, "count": {"warmup_queries": 1, "warmup_s": 1.0, "queries": 3}})

    assert (ran.returncode, answer["error"], answer["count"]) == (0, None, {"warmup": 1, "queries": 3})
    assert "latency" not in answer
