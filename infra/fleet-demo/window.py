"""Print one window of motion that no model has seen, as JSON: a person lifting an arm to the side."""

from __future__ import annotations

import json

from tinymlops.workloads.activity import Activity

activity = Activity()
test = activity.split(seed=7).test
row = next(index for index, target in enumerate(test.targets) if activity.labels[target] == "abduction")
print(json.dumps(test.inputs[row].tolist()))
