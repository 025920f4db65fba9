-- id: over-recovery
-- title: More recovered than the passport says there was
-- title-zh: 回收量超过电池护照所载含量
-- clause: battery recycling rules, art. 13: recovered material comes from the battery it is recorded for
-- clause-zh: 动力电池回收利用规则第十三条：再生材料应来源于所记录的电池
-- severity: medium
-- subject: battery
-- owner: owner
SELECT recovery.battery AS battery,
       recovery.owner AS owner,
       battery.maker AS maker,
       recovery.lithium - battery.lithium AS lithium_over,
       recovery.nickel - battery.nickel AS nickel_over,
       recovery.cobalt - battery.cobalt AS cobalt_over,
       recovery.recovered_at AS recovered_at
FROM recycling.recovery AS recovery
JOIN recycling.battery AS battery
  ON battery.battery_id = recovery.battery
WHERE recovery.lithium - battery.lithium > :tolerance
   OR recovery.nickel - battery.nickel > :tolerance
   OR recovery.cobalt - battery.cobalt > :tolerance
ORDER BY recovery.battery
