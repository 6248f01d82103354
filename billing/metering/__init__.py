"""Online time: from polls to seconds that can be billed.

    taking.py       one poll of a cluster becomes transitions: sessions that open and close
    judging.py      the SQL by which they do
    pieces.py       the SQL that clips sessions to stays and corrections
    rolling.py      hours by tenant and cluster, days by device: always rebuilt from the sessions, never added to
    usage.py        what a tenant used in a period; series; from a day down to the polls
    corrections.py  what an operator says was counted wrongly
    coverage.py     when each cluster was watched
    partitions.py   months: made ahead, dropped when they are old

Time is in whole seconds here: every moment is cut to its second when it comes in, so that sums agree however they are taken.
"""
