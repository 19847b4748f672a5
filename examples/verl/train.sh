#!/bin/bash
# GRPO with verl 0.9 on the problems of a run, rewarded by their rubrics. On one machine with 8 GPUs; see verl's documentation
# for several. The judge is a server of its own, on other GPUs:
#   pop export runs/mine --format verl --out problems.parquet
#   POP_JUDGE=http://judge:8000/v1 bash examples/verl/train.sh Qwen/Qwen2.5-7B-Instruct problems.parquet
set -euo pipefail
: "${POP_JUDGE:?set it to the address of the judge, up to /v1}"

python3 -m verl.trainer.main_ppo \
  algorithm.adv_estimator=grpo \
  algorithm.use_kl_in_reward=false \
  data.train_files="$2" \
  data.val_files="$2" \
  data.train_batch_size=128 \
  data.max_prompt_length=2048 \
  data.max_response_length=4096 \
  data.filter_overlong_prompts=true \
  actor_rollout_ref.model.path="$1" \
  actor_rollout_ref.actor.optim.lr=1e-6 \
  actor_rollout_ref.actor.ppo_mini_batch_size=64 \
  actor_rollout_ref.actor.use_dynamic_bsz=true \
  actor_rollout_ref.actor.use_kl_loss=true \
  actor_rollout_ref.actor.kl_loss_coef=0.001 \
  actor_rollout_ref.rollout.name=vllm \
  actor_rollout_ref.rollout.n=8 \
  actor_rollout_ref.rollout.gpu_memory_utilization=0.6 \
  reward.custom_reward_function.path=examples/verl/pop_reward.py \
  reward.custom_reward_function.name=compute_score \
  trainer.nnodes=1 \
  trainer.n_gpus_per_node=8 \
  trainer.total_epochs=1 \
  trainer.val_before_train=false \
  trainer.test_freq=-1 \
  trainer.save_freq=50 \
  trainer.logger='["console"]'
