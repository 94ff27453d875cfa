from edgekit.numerics.portions import in_portions


def test_things_come_in_order_and_what_is_too_large_comes_alone():
    assert list(in_portions([2, 2, 1, 9, 3, 2], int, 5)) == [[2, 2, 1], [9], [3, 2]]


def test_of_nothing_there_are_none():
    assert list(in_portions([], int, 5)) == []


def test_no_more_is_taken_than_the_first_list_needs():
    taken = []
    source = (taken.append(number) or number for number in (3, 3, 3, 3))

    assert next(in_portions(source, int, 6)) == [3, 3]
    assert taken == [3, 3, 3]
