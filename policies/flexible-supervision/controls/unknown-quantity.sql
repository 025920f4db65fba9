-- id: unknown-quantity
-- title: Metrics for which no common unit was adopted
-- title-zh: 未采纳统一计量单位的指标
-- clause: flexible supervision rules, art. 15: one quantity has one unit, over all contracts
-- clause-zh: 柔性监管规则第十五条：同一物理量在各合约中采用同一计量单位
-- severity: low
-- subject: watch_id
-- owner: set_by
SELECT watch.watch_id AS watch_id,
       watch.device AS device,
       watch.metric AS metric,
       watch.set_by AS set_by,
       watch.set_at AS set_at
FROM operation_supervision.watch AS watch
LEFT JOIN flexible_supervision.quantity AS quantity
  ON quantity.quantity_id = watch.metric AND quantity.state = 'adopted'
WHERE watch.state = 'open' AND quantity.quantity_id IS NULL
ORDER BY watch.watch_id
