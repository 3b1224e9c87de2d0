"""MLflow (https://mlflow.org)."""

import os
from typing import Any, ClassVar

from microgpt.engine.addons import LoggedRun, LoggerConfig


class MLflowConfig(LoggerConfig, name="mlflow"):
    """A run of an MLflow experiment, on a server or in a file."""

    packages: ClassVar[tuple[str, ...]] = ("mlflow",)
    install: ClassVar[str] = "microgpt[mlflow]"

    experiment: str = "microgpt"
    "The run's experiment."
    tracking_uri: str | None = None
    "Server or store; by default $MLFLOW_TRACKING_URI, else mlflow.db and mlruns/ beside the run folder."

    def build(self, run: LoggedRun) -> Any:
        from lightning.pytorch.loggers import MLFlowLogger

        known = run.read_id(self.name)

        class RunLogger(MLFlowLogger):
            """Lightning's MLflow logger, with samples and figures."""

            def log_hyperparams(self, params: Any) -> None:
                if known is None:  # MLflow does not let a parameter change, and a resumed run may have other knobs
                    super().log_hyperparams(params)

            def add_text(self, tag: str, text: str, step: int) -> None:
                self.experiment.log_text(self.run_id, text, f"{tag}/{step:08d}.md")

            def add_figure(self, tag: str, figure: Any, step: int) -> None:
                self.experiment.log_figure(self.run_id, figure, f"{tag}/{step:08d}.png")

            def finalize(self, status: str = "success") -> None:
                super().finalize("KILLED" if status == "aborted" else status)

        around = run.folder.resolve().parent
        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        logger = RunLogger(
            experiment_name=self.experiment,
            run_name=run.name,
            tracking_uri=uri or f"sqlite:///{around / 'mlflow.db'}",
            artifact_location=None if uri else (around / "mlruns").as_uri(),
            run_id=known,
        )
        run.write_id(self.name, str(logger.run_id))
        return logger
