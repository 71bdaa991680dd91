#!/bin/sh
# Mails the last lines of a failed unit's journal to the maintainer; called by OnFailure= with the unit's name.
set -eu

: "${MAINTAINER:?is the address of whoever maintains the kit here}"
unit=${1:?is the name of the unit that failed}
{
    printf 'To: %s\nSubject: %s failed on %s\n\n' "$MAINTAINER" "$unit" "$(uname -n)"
    printf 'The last good report stays where it was. The line below that opens with strategy-kit says what to do.\n\n'
    journalctl --unit="$unit" --lines=50 --no-pager
} | sendmail -t
