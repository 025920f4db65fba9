-- id: failed-trigger
-- title: Misuse that was upheld and ended no grant
-- title-zh: 违规成立而授权未能终止
-- clause: data sharing rules, art. 7: misuse ends a grant
-- clause-zh: 数据共享规则第七条：违规使用成立的，授权终止
-- severity: medium
-- subject: usage_id
-- owner: owner
SELECT fired.key AS usage_id,
       used.owner AS owner,
       used.grant AS grant_id,
       fired.name AS trigger_name,
       fired.outcome AS outcome,
       fired.time AS fired_at
FROM ledger.triggered AS fired
JOIN data_sharing.usage AS used
  ON used.usage_id = fired.key
WHERE fired.trigger_contract = 'data-sharing'
  AND fired.name = 'misuse-upheld'
  AND fired.outcome <> 'accepted'
ORDER BY fired.key
