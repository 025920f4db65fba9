-- id: low-recovery
-- title: Recovery rates under the legal ones
-- title-zh: 低于法定要求的回收率
-- clause: battery recycling rules, art. 12: of lithium, nickel and cobalt the legal parts are recovered
-- clause-zh: 动力电池回收利用规则第十二条：锂、镍、钴的回收率不得低于法定要求
-- severity: high
-- subject: battery
-- owner: owner
-- Rates in 0.01 %, cut off; none of what the battery does not contain.
SELECT recovery.battery AS battery,
       recovery.owner AS owner,
       CASE WHEN battery.lithium > 0 THEN recovery.lithium * 10000 / battery.lithium END AS lithium_rate,
       CASE WHEN battery.nickel > 0 THEN recovery.nickel * 10000 / battery.nickel END AS nickel_rate,
       CASE WHEN battery.cobalt > 0 THEN recovery.cobalt * 10000 / battery.cobalt END AS cobalt_rate,
       recovery.residue AS residue,
       recovery.recovered_at AS recovered_at
FROM recycling.recovery AS recovery
JOIN recycling.battery AS battery
  ON battery.battery_id = recovery.battery
WHERE recovery.lithium * 10000 < battery.lithium * :lithium
   OR recovery.nickel * 10000 < battery.nickel * :nickel
   OR recovery.cobalt * 10000 < battery.cobalt * :cobalt
ORDER BY recovery.battery
