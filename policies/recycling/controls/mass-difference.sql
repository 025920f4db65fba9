-- id: mass-difference
-- title: Masses that do not agree between giver, receiver and the weighing before
-- title-zh: 交出、接收与前次称重不一致的质量
-- clause: battery recycling rules, art. 8: what is received is what was given, within the tolerance of the scales
-- clause-zh: 动力电池回收利用规则第八条：接收质量应与交出质量一致，误差不超过衡器允差
-- severity: high
-- subject: hand_over_id
-- owner: owner
SELECT hand_over_id,
       battery,
       owner,
       receiver,
       mass_expected,
       mass_sent,
       mass_received,
       MAX(ABS(mass_sent - mass_expected), ABS(COALESCE(mass_received, mass_sent) - mass_sent)) AS difference
FROM recycling.hand_over
WHERE ABS(mass_sent - mass_expected) * 1000 > mass_expected * :permille
   OR ABS(COALESCE(mass_received, mass_sent) - mass_sent) * 1000 > mass_sent * :permille
ORDER BY hand_over_id
