import dataclasses

import numpy as np
import pytest

from attention_unet.errors import UserError
from attention_unet.files.prediction_record import read_record
from attention_unet.inference.inputs import read_scan_table
from attention_unet.inference.predict_folder import predict_folder
from attention_unet.network import AttentionUNet
from attention_unet.scans.volumes import read_labels
from tests.inference.build import model_of, plan_of, scan


def table(tmp_path, text):
    file = tmp_path / "scans.csv"
    file.write_text(text)
    return file


def test_scans_of_any_folder_under_any_name(tmp_path):
    _, one = scan(tmp_path / "a", np.eye(4), "t1.nii.gz", seed=1)
    _, two = scan(tmp_path / "b" / "c", np.eye(4), "t1.nii.gz", seed=2)
    file = table(tmp_path, f"case,image\nfirst,a/t1.nii.gz\nsecond, {tmp_path}/b/c/t1.nii.gz \n")
    assert predict_folder([model_of()], file, tmp_path / "out") == {}
    for name, values in (("first", one), ("second", two)):
        found = read_labels(tmp_path / "out" / f"{name}.nii.gz").array[0]
        assert ((found == 3) == (values > 1)).mean() > 0.99
    assert predict_folder([model_of()], file, tmp_path / "out", resume=True) == {}
    (tmp_path / "a").rename(tmp_path / "folder.csv")
    assert predict_folder([model_of()], tmp_path / "folder.csv", tmp_path / "of_folder") == {}


def test_columns_are_channels_and_their_files_may_have_one_name(tmp_path, caplog):
    caplog.set_level("INFO")
    plan = plan_of(channels=("T1w", "FLAIR"))
    model = dataclasses.replace(model_of(AttentionUNet(plan.architecture).eval()), plan=plan)
    for folder in "ab":
        scan(tmp_path / folder, np.eye(4), "s.nii.gz", seed=ord(folder))
    file = table(tmp_path, "T1w,case,FLAIR\na/s.nii.gz,x,b/s.nii.gz\n")
    assert [path.parent.name for path in read_scan_table(file, plan.channels, False)[0].images] == ["a", "b"]
    assert predict_folder([model], file, tmp_path / "out") == {}
    assert len(set(read_record(tmp_path / "out")["cases"]["x"]["sha256"].values())) == 2
    scan(tmp_path / "a", np.eye(4), "s.nii.gz", seed=9)
    predict_folder([model], file, tmp_path / "out", resume=True)
    assert "x: the scan has changed since it was predicted: predicted again" in caplog.text


def test_channels_that_were_in_the_wrong_column_are_predicted_again(tmp_path, caplog):
    plan = dataclasses.replace(plan_of(channels=("T1w", "FLAIR")), channels_may_miss=True)
    model = dataclasses.replace(model_of(AttentionUNet(plan.architecture).eval()), plan=plan)
    for name in "ab":
        scan(tmp_path, np.eye(4), f"{name}.nii.gz", seed=ord(name))
    for cells, told in (
        ("b.nii.gz,a.nii.gz", ""),
        ("a.nii.gz,b.nii.gz", "x: was predicted from b.nii.gz, a.nii.gz: predicted again"),
        ("a.nii.gz,", "x: was predicted from a.nii.gz, b.nii.gz: predicted again"),
        (",a.nii.gz", "x: was predicted without other channels: predicted again"),
        (",a.nii.gz", ""),
    ):
        caplog.clear()
        file = table(tmp_path, f"case,T1w,FLAIR\nx,{cells}\n")
        assert predict_folder([model], file, tmp_path / "out", resume=True) == {}
        assert "".join(message for message in caplog.messages if "predicted again" in message) == told


def test_an_empty_cell_is_an_absent_channel(tmp_path):
    file = table(tmp_path, "case,T1w,FLAIR\nx,a.nii.gz,\ny,,b.nii.gz\n")
    assert [case.absent for case in read_scan_table(file, ("T1w", "FLAIR"), True)] == [(1,), (0,)]
    with pytest.raises(UserError, match=r"x has an empty cell: expected the path of a scan; a model trained with"):
        read_scan_table(file, ("T1w", "FLAIR"), False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no scan: expected the heading case"),
        ("case,image\n", "names no scan: expected the heading case"),
        ("id,image\nx,a.nii.gz\n", r"no column 'case'\): expected the heading case, and one for the files"),
        ("case\nx\n", "has 0 columns of files, the model takes 3"),
        ("case,a,b\nx,1.nii.gz,2.nii.gz\n", "has 2 columns of files, the model takes 3"),
        (
            "case,T1w,FLAIR,T2w\nx,1.nii,2.nii,3.nii\n",
            "has the columns T1w,FLAIR,T2w: the model takes T1w,T2w,FLAIR, in this order",
        ),
        ("case,a,T1w,b\nx,1.nii,2.nii,3.nii\n", "has the columns a,T1w,b: the model takes"),
        ("case,T1,FLAIR,T2\nx,1.nii,2.nii,3.nii\n", "has the columns T1,FLAIR,T2: the model takes T1w,T2w,FLAIR"),
        ("case,t1w,flair,t2w\nx,1.nii,2.nii,3.nii\n", "has the columns t1w,flair,t2w: the model takes T1w,T2w,FLAIR"),
        ("case,image\nx,a.nii.gz,b.nii.gz\n", "line 2 has 3 cells for 2 headings"),
        ("case,image\nx,a.nii.gz\ny,b.nii.gz\nx,c.nii.gz\n", "names x twice: keep one row"),
        ("case,image\n../x,a.nii.gz\n", r"\.\./x: cannot be the name of a mask"),
        ("case,image\n.x,a.nii.gz\n", "cannot be the name of a mask"),
        ("case,image\nx,a\0.nii.gz\n", "x has a byte 0 in a cell|line contains NUL"),
        ("case,image\n ,a.nii.gz\n", "cannot be the name of a mask"),
        ("case,image\nx,\n", "x has an empty cell: expected the path of a scan$"),
    ],
)
def test_faulty_tables_are_refused(tmp_path, text, reason):
    with pytest.raises(UserError, match=reason):
        read_scan_table(table(tmp_path, text), ("T1w", "T2w", "FLAIR"), True)
