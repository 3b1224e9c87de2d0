"""Names that people bring from other programs, and what to write here. `{}` stands for the value typed.

An answer is one or more overrides, or a sentence that names them; a test asks that each of its knobs exists.
"""

_NANOGPT = """
max_iters: trainer.max_steps={}
lr_decay_iters: the schedule ends with the run, at trainer.max_steps; optim.schedule=constant keeps the rate
learning_rate: optim.lr={}
min_lr: optim.schedule.final=0.1 sets the last rate as a share of optim.lr
decay_lr: optim.schedule=constant turns the decay off, optim.schedule=cosine on
warmup_iters: optim.warmup_steps={}
grad_clip: trainer.gradient_clip_val={}
beta1 beta2: optim.betas=[0.9,0.95] holds both
eval_interval: eval.every_n_steps={}
eval_iters: eval.protocol=blocks scores every token; eval.protocol=random estimates as nanoGPT does
eval_only: microgpt-evaluate RUN scores a trained model
log_interval: trainer.log_every_n_steps={}
always_save_checkpoint: checkpoint.every_n_steps=500 always saves; checkpoint.keep=2 keeps the newest
init_from: model.pretrained=gpt2 starts from weights; a run resumes in its folder with hydra.run.dir=RUN
out_dir: hydra.run.dir={}
dataset: data={} for a shipped corpus, data.path={} for a file of your own
gradient_accumulation_steps: data.batch_size=64 is the whole step's batch; trainer.micro_batch_size=16 splits it
wandb_log: logger=wandb
wandb_project: logger=wandb logger.wandb.project={}
wandb_run_name: logger=wandb names the run after its folder, hydra.run.dir={}
device: trainer.accelerator={}
dtype: trainer.precision=bf16-mixed, or 32-true, 16-mixed, bf16-true
backend: trainer.devices=4 starts the processes and chooses the backend
start: sample.prompts=[{}]
num_samples: microgpt-generate RUN --num-samples {}
"""
_LIGHTNING = """
accumulate_grad_batches: data.batch_size=64 is the whole step's batch; trainer.micro_batch_size=16 splits it
fast_dev_run: trainer.max_steps=2 is a short run
overfit_batches: data.val_fraction=0 trainer.max_steps=200 with a short text in data.path=FILE
limit_train_batches: trainer.max_steps=100 shortens the training
limit_val_batches limit_test_batches: data.val_fraction=0.01 makes the validation split smaller
limit_predict_batches: sample.max_new_tokens=300 is the length of a sample
val_check_interval: eval.every_n_steps={}
check_val_every_n_epoch: eval.every_n_steps=250 counts steps
num_sanity_val_steps: eval.every_n_steps=250 evaluates first at that step, and at the end
max_time: callbacks.timer.minutes=60
min_epochs min_steps: trainer.max_steps=600 says how long; trainer.early_stopping_patience=null never stops early
gradient_clip_algorithm: trainer.gradient_clip_val=1.0 clips the norm
enable_progress_bar: trainer.progress=none, bar or lines
enable_checkpointing: checkpoint.every_n_steps=500; the last step is always saved
enable_model_summary: plan=true prints the model's size and cost
default_root_dir: hydra.run.dir={}
detect_anomaly: trainer.on_nonfinite=stop ends the run at a loss that is not finite
benchmark: trainer.compile=true is what makes it fast
gpus num_gpus n_gpus: trainer.accelerator=gpu trainer.devices={}
num_processes: trainer.devices={}
tpu_cores sync_batchnorm: there is none; trainer.devices=4 shares a batch among devices
num_workers pin_memory persistent_workers prefetch_factor: there is none; the text is read without worker processes
"""
_TEMPLATE = """
ckpt_path: a run resumes in its folder with hydra.run.dir=RUN; model.pretrained=RUN starts from its weights
resume_from_checkpoint resume_from checkpoint_path: a run resumes in its folder with hydra.run.dir=RUN
hparams_search: -m experiment=search
task_name: hydra.run.dir=runs/{}
optimized_metric: -m hydra/sweeper=optuna minimises val/loss
train: microgpt-train always trains; plan=true only estimates
test: data.test_fraction=0.1 is scored at the end; microgpt-evaluate RUN scores again
extras print_config: --cfg job prints the configuration
paths log_dir data_dir: hydra.run.dir=RUN for the run, data.cache_dir=DIR for downloads
net: model={}
datamodule: data={}
scheduler lr_scheduler lr_scheduler_type: optim.schedule={}
model_checkpoint: checkpoint.every_n_steps=500 checkpoint.keep=2
early_stopping: trainer.early_stopping_patience=3
rich_progress_bar: trainer.progress=bar
"""
_HUGGING_FACE = """
num_hidden_layers n_layers num_layers layers depth: model.n_layer={}
hidden_size d_model dim n_dim embed_dim emb_dim embedding_dim hidden_dim width: model.n_embd={}
num_attention_heads n_heads num_heads heads: model.n_head={}
num_key_value_heads n_kv_heads num_kv_heads: model.n_kv_head={}
intermediate_size n_inner ffn_dim d_ff ff_dim: model.mlp_hidden={}
max_position_embeddings n_positions n_ctx: model.block_size={}
context_length context_size context seq_len max_seq_len sequence_length seq_length max_length: model.block_size={}
hidden_act activation_function activation act: model.mlp=gelu, relu2, swiglu or another
rope_theta rotary_emb_base rope_base: model.pos=rope model.pos.theta={}
partial_rotary_factor rotary_pct rotary_percentage: model.pos=rope model.pos.fraction={}
use_parallel_residual parallel_residual: model.residual=parallel
rms_norm_eps layer_norm_eps layer_norm_epsilon norm_epsilon: model.norm_eps={}
tie_word_embeddings weight_tying: model.tie_weights={}
attention_dropout attn_pdrop resid_pdrop embd_pdrop hidden_dropout_prob: model.dropout={}
attn_implementation use_flash_attn flash flash_attention: model.attention=auto is the fastest here
model_name_or_path model_name pretrained_model_name_or_path use_pretrained: model.pretrained={}
torch_dtype: trainer.precision=bf16-mixed, or 32-true, 16-mixed, bf16-true
per_device_train_batch_size train_batch_size batch: data.batch_size={} over all devices
per_device_eval_batch_size eval_batch_size val_batch_size: eval.batch_size={}
num_train_epochs epochs num_epochs n_epochs max_epoch: trainer.max_epochs={}
steps num_steps n_steps iters iterations num_iterations train_steps max_train_steps: trainer.max_steps={}
warmup_ratio: optim.warmup_steps={}
warmup num_warmup_steps: optim.warmup_steps={}
logging_steps log_every log_every_steps: trainer.log_every_n_steps={}
save_steps save_every save_interval ckpt_every: checkpoint.every_n_steps={}
eval_steps eval_every eval_freq: eval.every_n_steps={}
generate_every_n_steps sample_every sample_interval: sample.every_n_steps={}
save_total_limit: checkpoint.keep={}
load_best_model_at_end: the run's model/ always holds the best weights; trainer.early_stopping_patience=3 stops early
fp16 bf16 tf32 amp mixed_precision use_amp: trainer.precision=bf16-mixed, or 32-true, 16-mixed, bf16-true
gradient_checkpointing: trainer.micro_batch_size=8 is what saves memory here
max_grad_norm clip_grad_norm clip_grad grad_norm_clip clip: trainer.gradient_clip_val={}
output_dir save_dir output out run_dir logdir save_path: hydra.run.dir={}
report_to: logger={}
adam_beta1 adam_beta2 adam_betas: optim=adamw optim.betas=[0.9,0.95]
adam_epsilon epsilon: optim=adamw optim.eps={}
wd: optim.weight_decay={}
optimizer: optim={}
max_tokens max_length_generation: sample.max_new_tokens={}
prompt: sample.prompts=[{}]
"""
_OTHERS = """
file filename txt_file text_file text input input_file data_file data_path train_file book: data.path={}
tokeniser: data.tokenizer={}
position position_embedding pos_emb pos_embedding positional_encoding position_encoding: model.pos={}
abs_emb: model.pos=learned, or sinusoidal
gpu cuda cpu mps: trainer.accelerator=gpu, cpu, mps or auto
wandb tensorboard mlflow use_wandb: logger=wandb, tensorboard, mlflow or none
patience early_stop: trainer.early_stopping_patience={}
ema use_ema: trainer.ema_decay=0.999
random_seed manual_seed random_state: seed={}
val_split validation_split val_size: data.val_fraction={}
train_split train_size train_fraction split: data.val_fraction=0.1 is the share that is not trained on
test_split test_size: data.test_fraction={}
size model_size: model=gpt-nano, gpt-micro, gpt-mini or another
shuffle: data.sampling=shuffle
batch_size: data.batch_size={}
"""


def _read(*tables: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in "\n".join(tables).strip().splitlines():
        words, _, answer = line.partition(": ")
        found |= dict.fromkeys(words.split(), answer) if line else {}
    return found


ANSWERS = _read(_NANOGPT, _LIGHTNING, _TEMPLATE, _HUGGING_FACE, _OTHERS)
"""A knob's name elsewhere -> what to write here."""
WHOLE = {
    "trainer=gpu": "trainer.accelerator=gpu",
    "trainer=cpu": "trainer.accelerator=cpu",
    "trainer=mps": "trainer.accelerator=mps",
    "trainer=ddp": "trainer.strategy=ddp trainer.devices=2",
    "trainer=ddp_sim": "trainer.accelerator=cpu trainer.devices=2",
    "trainer=default": "trainer.max_steps=600 and other knobs of trainer",
    "optimizer=adam": "optim=adamw",
    "callbacks=default": "nothing: checkpoint.keep=2 and trainer.early_stopping_patience=3 are knobs of every run",
    "logger=many_loggers": "logger=[tensorboard,wandb]",
    "debug=default": "debug=fast, overfit, profile or shapes",
    "debug=limit": "debug=fast",
    "debug=fdr": "debug=fast",
    "debug=profiler": "debug=profile",
}
"""Overrides that name no knob of ours as a whole -> what to write here."""


def answer(name: str, value: str = "") -> str | None:
    """What to write here for a knob's name elsewhere, with its value; None for a name that nobody brings."""
    said = ANSWERS.get(name.lower().replace("-", "_"))
    return None if said is None else f"here that is: {said.replace('{}', value or '...')}"
