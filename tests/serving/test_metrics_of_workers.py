"""GET /metrics adds up what all workers counted, also while one is just beginning."""

from contextlib import closing

from prometheus_client.mmap_dict import MmapedDict, mmap_key
from starlette.testclient import TestClient

from serving.metrics import answer_metrics


def test_a_worker_that_is_just_making_its_file_does_not_keep_the_others_from_being_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    key = mmap_key("likeness_requests", "likeness_requests_total", ["task"], ["churn"], "Requests")
    for worker, n in ((7, 3.0), (8, 4.0)):
        with closing(MmapedDict(str(tmp_path / f"counter_{worker}.db"))) as counted:
            counted.write_value(key, n, 0.0)
    (tmp_path / "counter_9.db").touch()
    (tmp_path / "gauge_livesum_9.db").touch()
    answer = TestClient(answer_metrics).get("/metrics")
    assert answer.status_code == 200 and 'likeness_requests_total{task="churn"} 7.0' in answer.text
