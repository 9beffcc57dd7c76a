"""render.py CHART VALUES.json: lints the chart and prints what Helm makes of it."""
import json
import sys

import helm_python as helm

with open(sys.argv[2], encoding="utf-8") as file:
    values = json.load(file)
with helm.Chart.load(sys.argv[1]) as chart:
    chart.validate_schema(values)
    rendered = chart.render(values, name="tidegate", namespace="tidegate-system")
for name in sorted(rendered):
    print(rendered[name])
