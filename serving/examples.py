"""Examples of answers for the document; those of requests stand beside their shapes (serving.shapes). A test holds them against what is answered."""

from typing import Any

_ID, _AS_OF = "2f6d8c1e-5b1a-4a53-9a0e-6a4f5a0c9d3e", "2026-01-31T05:00:00Z"
_SERVED = {"as_of": _AS_OF, "model": "complete-journey.churn", "version": "3"}
_RESULT: dict[str, Any] = {
    "customer_id": "1123", "task": "churn", "found": True, "score": 97, "probability": 0.412, "percentile": 97.1, "band": "high", **_SERVED}
_UNKNOWN: dict[str, Any] = {
    "customer_id": "4711", "task": "churn", "found": False, "score": None, "probability": None, "percentile": None, "band": None,
    "why": "nobody of this id was known at 2026-01-31T05:00:00Z", **_SERVED}
_REASON: dict[str, Any] = {
    "family": "behaviour", "feature": "days_since_last_purchase", "label": "days since the last purchase", "value": 41.0, "average": 12.4, "band_average": 38.2,
    "is_actionable": False, "contribution": 1.31, "is_firm": True, "sentence": "days since the last purchase: 41 days (average 12.4 days), which raises the risk of leaving"}
_REST: dict[str, Any] = {
    "family": "other", "feature": "other", "label": "everything else together", "value": None, "average": None, "band_average": None, "is_actionable": False,
    "contribution": -0.12, "is_firm": None, "sentence": "everything else together lowers the risk of leaving"}
_HIDDEN: dict[str, Any] = {
    **_REST, "family": "not_shown", "feature": "not_shown", "label": "not shown", "contribution": 0.05, "sentence": "not shown raises the risk of leaving"}
_EXPLAINED: dict[str, Any] = {
    **_RESULT, "base_log_odds": -1.595, "log_odds": -0.355, "reasons": [_REASON, _HIDDEN, _REST],
    "families": [{"family": "behaviour", "contribution": 1.31, "is_firm": True}, {"family": "interest", "contribution": -0.12, "is_firm": False}]}

# By route.
ANSWERS: dict[str, Any] = {
    "/score": {"request_id": _ID, "results": [_RESULT, _UNKNOWN]},
    "/explain": {"request_id": _ID, "results": [_EXPLAINED]},
    "/audience": {
        "request_id": _ID, "audience_id": "9b1c0d7e52a4f683", "task": "lookalike", "model": "complete-journey.lookalike", "version": "1", "as_of": _AS_OF,
        "expires_at": "2026-02-28T05:00:00Z", "seeds_used": 120, "seeds_unknown": 3,
        "audience": [{"customer_id": "352", "likeness": 0.9312, "percentile": 99.9, "reasons": [{
            "family": "interest", "feature": "seafood_share_112d", "label": "share of seafood", "value": 0.12, "average": 0.01, "seeds": 0.09, "contribution": 0.8,
            "sentence": "share of seafood: 12% (everybody 1.0%, the seeds 9.0%)"}]}],
        "curve": [{"reach": 100, "similarity": 0.91, "expected_lift": 4.2}]},
    "/models": {"request_id": _ID, "models": [{
        "task": "churn", "model": "complete-journey.churn", "version": "3", "kind": "churn", "as_of": _AS_OF, "customers": 2310, "schema_hash": "0f3a9c",
        "features": [{"name": "days_since_last_purchase", "kind": "number", "unit": "days", "levels": []},
                     {"name": "income_band", "kind": "category", "unit": "category", "levels": ["35-49K", "50-74K"]}]}]},
    "/profile": {
        "request_id": _ID, "customer_id": "1123", "as_of": _AS_OF, "found": True,
        "families": [{"family": "behaviour", "features": [
            {"feature": "days_since_last_purchase", "label": "days since the last purchase", "value": 41.0, "unit": "days", "text": "41 days"}]}],
        "features_not_shown": 2,
        "segments": [{"scheme": "value", "title": "Value tiers", "segment": "A", "label": "brings the first 80 % of revenue", "as_of": _AS_OF}],
        "tags": [{"tag": "vip_sleeping", "label": "high value, sleeping", "layer": "behaviour", "value": None, "as_of": _AS_OF, "valid_until": "2026-02-14T05:00:00Z"}],
        "tags_not_shown": 0, "scores": [_EXPLAINED]},
    "/whatif": {
        "request_id": _ID, "is_causal": False, "note": "what the model would say, and no promise of what would happen",
        "changes": [{"feature": "discount_share_28d", "label": "share of list price saved by discounts", "before": 0.1, "after": 0.2}],
        "before": _RESULT, "after": {**_RESULT, "score": 95, "probability": 0.37, "percentile": 95.2}},
    "/features": {"request_id": _ID, "features": [{
        "name": "days_since_last_purchase", "family": "behaviour", "unit": "days", "label_en": "days since the last purchase", "label_zh": "距上次购买天数",
        "is_actionable": False, "is_sensitive": False, "is_treatment": False, "tasks": ["churn", "conversion"]}]},
    "/reports": {"request_id": _ID, "reports": ["churn.en.html", "index.en.html"]},
    "/reports/{name}": "<!doctype html><html lang=\"en\"><title>Who will leave</title></html>"}
PROBLEM = {"type": "about:blank", "title": "Unprocessable Entity", "status": 422, "detail": "customers[0].customer_id is required", "request_id": _ID}
# What stands in an address.
IN_PATH = {"name": "index.en.html"}
