-- id: unlicensed-recycler
-- title: Batteries taken for recycling without a valid licence
-- title-zh: 无有效许可证而接收废旧电池的企业
-- clause: battery recycling rules, art. 5: only the holder of a valid licence takes batteries for recycling
-- clause-zh: 动力电池回收利用规则第五条：持有效许可证的企业方可接收电池进行再生利用
-- severity: critical
-- subject: battery_id
-- owner: owner
SELECT battery.battery_id AS battery_id,
       battery.owner AS owner,
       battery.chemistry AS chemistry,
       battery.mass_now AS mass_now,
       battery.changed_at AS taken_at
FROM recycling.battery AS battery
WHERE battery.state = 'at-recycler'
  AND NOT EXISTS (
    SELECT 1
    FROM recycling.licence AS licence
    WHERE licence.owner = battery.owner
      AND licence.state = 'valid'
      AND licence.valid_until > :as_of_time)
ORDER BY battery.battery_id
