"""Weights & Biases (https://docs.wandb.ai)."""

from typing import Any, ClassVar

from microgpt.engine.addons import LoggedRun, LoggerConfig


class WandbConfig(LoggerConfig, name="wandb"):
    """A run of a W&B project, with its files in the run folder under `wandb/`."""

    packages: ClassVar[tuple[str, ...]] = ("wandb",)
    install: ClassVar[str] = "microgpt[wandb]"

    project: str = "microgpt"
    "The run's project."
    entity: str | None = None
    "Account or team; by default the logged-in one."
    offline: bool = False
    "Write only to the run folder; `wandb sync` uploads it later."

    def build(self, run: LoggedRun) -> Any:
        from lightning.pytorch.loggers import WandbLogger

        class RunLogger(WandbLogger):
            """Lightning's W&B logger, with samples and figures; the W&B run ends when ours ends."""

            def add_text(self, tag: str, text: str, step: int) -> None:
                self.log_text(tag, columns=["text"], data=[[text]], step=step)

            def add_figure(self, tag: str, figure: Any, step: int) -> None:
                self.log_image(tag, [figure], step=step)

            def finalize(self, status: str) -> None:
                super().finalize(status)
                self.experiment.finish(exit_code=int(status != "success"))

        logger = RunLogger(
            name=run.name,
            project=self.project,
            entity=self.entity,
            offline=self.offline,
            save_dir=run.folder,
            id=run.read_id(self.name),
        )
        run.write_id(self.name, logger.experiment.id)
        return logger
