"""What Vela tells, as text written here by hand."""

import pytest

from edgekit.engine.ethos_u.told import _reasons, read_summary
from edgekit.errors import ChildError

LOG = """
Warning (supported operators) operator: MEAN, ofm: 'mean of 'it''
Reason: Unsupported depth-reduction.  IFM: 1, 8, 8, 8
Reduction over depth is only supported if any of h,w,c == 1

Warning (supported operators) operator: ADD, ofm: 'sum'
Reason: Operation has tensor with unsupported DataType Float32 (sum_raw)
Feature-map dataTypes must be one of {"INT16"}

Network summary for model
"""


def test_reasons_are_found_by_operator_and_tensor_and_name_no_other_tensor():
    assert _reasons(LOG) == {
        ("MEAN", "mean of 'it'"): "Unsupported depth-reduction.  IFM: 1, 8, 8, 8",
        ("ADD", "sum"): "Operation has tensor with unsupported DataType Float32",
    }


def test_one_row_is_read_by_its_columns(tmp_path):
    (tmp_path / "model_summary_Some_System.csv").write_text("network,cycles_npu\nmodel,12\n")

    assert read_summary(tmp_path) == {"network": "model", "cycles_npu": "12"}


@pytest.mark.parametrize("text", [None, "network,cycles_npu\n"])
def test_a_table_of_another_form_is_an_error(text, tmp_path):
    if text is not None:
        (tmp_path / "model_summary_Some_System.csv").write_text(text)
    with pytest.raises(ChildError, match="no table of figures"):
        read_summary(tmp_path)
