"""Weights & Biases (https://docs.wandb.ai)."""

from typing import Any, ClassVar

from microgpt.engine.addons import LoggedRun, LoggerConfig


class WandbConfig(LoggerConfig, name="wandb"):
    """A run of a W&B project; its files lie in the run folder, under `wandb/`."""

    packages: ClassVar[tuple[str, ...]] = ("wandb",)
    install: ClassVar[str] = "microgpt[wandb]"

    project: str = "microgpt"
    "Project that the run belongs to."
    entity: str | None = None
    "Account or team; by default the one that is logged in."
    offline: bool = False
    "Write to the run folder alone; `wandb sync` uploads it later."

    def build(self, run: LoggedRun) -> Any:
        from lightning.pytorch.loggers import WandbLogger

        class RunLogger(WandbLogger):
            """Lightning's, which also takes samples and figures, and ends its run with ours."""

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
