"""The same job in Airflow 3: a retry goes on where the last attempt stopped."""

from __future__ import annotations

import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "tickets",
    schedule="15 2 * * *",
    start_date=datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,
):
    BashOperator(
        task_id="topics_and_moods",
        cwd="/srv/jobs",
        bash_command="/srv/venv/bin/sqlllm run tickets.toml --set until={{ ds }} --json",
        skip_on_exit_code=[3, 4],  # a budget is used up; another run is going on
        retries=3,
        retry_delay=datetime.timedelta(minutes=10),
    )
