#!/bin/sh
# The week's reports, for a scheduler to call: one line of JSON last on stdout, a sentence on stderr only if something
# failed, and the exit code of the run.
set -eu

: "${KIT:?is the folder of the checkout}" "${DATA:?is the folder of the data set}" "${REPORTS:?is the folder that is read}"

# The week that has just ended on the calendar of the business. It is named, so that late data fail with exit code 7;
# without a week the last complete one would be reported again. Add the settlement days of dataset.toml to DAYS_AGO.
WEEK=${WEEK:-$(TZ=${ZONE:-Asia/Shanghai} date -d "${DAYS_AGO:-7} days ago" +%G-W%V)}

cd "$KIT"
exec .venv/bin/strategy-kit weekly --data "$DATA" --week "$WEEK" --out "$REPORTS" --json "$@"
