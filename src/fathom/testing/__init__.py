"""Contracts that query methods, datasets and paradigms must keep, for plug-ins as for the built-in ones.

from fathom.testing import check_dataset, check_paradigm, check_query

def test_my_method():
    check_query("my_al/density-margin(beta=2.0)")

def test_my_paradigm():
    check_paradigm("my_al/prototypes(epochs=2)")  # a short recipe: it is trained several times

def test_my_dataset():
    check_dataset("my_al/my-images", "folder/of/its/files")
"""

from fathom.testing.dataset import check_dataset as check_dataset
from fathom.testing.dataset import dataset_findings as dataset_findings
from fathom.testing.paradigm import check_paradigm as check_paradigm
from fathom.testing.paradigm import paradigm_findings as paradigm_findings
from fathom.testing.query import check_query as check_query
from fathom.testing.query import query_findings as query_findings
