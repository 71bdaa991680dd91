"""The week's reports as DAGs of Airflow 3; docs/scheduling.md says which of the two to take, and why."""  # noqa: INP001

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.papermill.operators.papermill import PapermillOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

KIT, DATA, REPORTS, WORK = "/srv/strategy-kit", "/srv/market", "/srv/reports", "/srv/work"
ZONE = "Asia/Shanghai"
KERNEL = "strategy-kit"  # `$KIT/.venv/bin/python -m ipykernel install --name strategy-kit`, once on each worker
# The week that had ended when the run was due, or the one given by hand. Values go in as environment, never into the
# text of a command, so that nobody who may start a run can write commands.
WEEK = "{{ params.week or (data_interval_end - macros.timedelta(days=7)).in_timezone('Asia/Shanghai').strftime('%G-W%V') }}"
MONDAY = "15 6 * * 1"
ENVIRONMENT = {"KIT": KIT, "DATA": DATA, "REPORTS": REPORTS, "WORK": WORK, "WEEK": WEEK}
EACH = {
    "start_date": pendulum.datetime(2025, 1, 6, tz=ZONE),
    "catchup": False,
    "max_active_runs": 1,
    "params": {"week": ""},
    "tags": ["strategy-kit"],
}
# A failed run has changed nothing, so that trying again is safe; late data are the usual reason. Airflow does not tell a
# reason that time heals from one that it does not: a broken table fails as often before the task is failed.
RETRIES = {"retries": 6, "retry_delay": timedelta(hours=1)}

with DAG("strategy_kit_weekly", schedule=MONDAY, **EACH):
    # The last line of stdout, the run's JSON, becomes the task's XCom.
    BashOperator(
        task_id="weekly",
        bash_command='exec "$KIT/docs/schedules/weekly.sh" # not a template file',
        env=ENVIRONMENT,
        append_env=True,
        **RETRIES,
    )

with DAG("strategy_kit_one_notebook", schedule=MONDAY, **EACH):
    admit = BashOperator(
        task_id="admit",
        bash_command='exec "$KIT/.venv/bin/python" "$KIT/docs/schedules/judge.py" admit '
        '"$KIT/notebooks/kpi_review.ipynb" data="$DATA" week="$WEEK" language=en',
        env=ENVIRONMENT,
        append_env=True,
        **RETRIES,
    )
    execute = PapermillOperator(
        task_id="execute",
        input_nb=f"{KIT}/notebooks/kpi_review.ipynb",
        output_nb=f"{WORK}/kpi_review_{WEEK}.ipynb",
        parameters={"data": DATA, "week": WEEK, "language": "en"},
        kernel_name=KERNEL,
    )
    judge = BashOperator(
        task_id="judge",
        bash_command='exec "$KIT/.venv/bin/python" "$KIT/docs/schedules/judge.py" judge '
        '"$WORK/kpi_review_$WEEK.ipynb" "$REPORTS/kpi_review_$WEEK.html"',
        env=ENVIRONMENT,
        append_env=True,
    )
    admit >> execute >> judge
