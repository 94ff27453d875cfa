from edgekit.cli.terminal import print_table_or_lines


def test_off_a_terminal_a_table_stays_a_table_however_long_a_cell_is(capsys):
    reason = "times not valid: " + "another program had the processors " * 20

    print_table_or_lines(("Device", "Status"), [("a", reason), ("b", "built")])

    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith(("a ", "b "))]
    assert rows == [["a", *reason.split()], ["b", "built"]]
